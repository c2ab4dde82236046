# Two commands do everything on a fresh machine: make demo, make test.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --constraint constraints.txt
LINTED := src tests benchmarks docs $(wildcard examples)
DEMO_PROMPT ?= a photo of four small outlined blue circles
DEMO_SEED ?= 0
FAULT_SEED ?= 0
FAULT_SCALE ?= 1
FUZZ_SECONDS ?= 600

.PHONY: demo test test-long faults audit check lint install develop docs help-page clean

install: $(VENV)/.runtime  ## what milr runs with, and nothing else

develop: $(VENV)/.develop  ## the same environment with everything that tests, lint and documentation need

$(VENV)/.runtime: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable .
	touch $@

$(VENV)/.develop: $(VENV)/.runtime
	$(PIP) --editable ".[dev]"
	touch $@

demo: install  ## make one picture with MILR on the embedded model, and a report
	$(BIN)/milr generate "$(DEMO_PROMPT)" --method latent_reasoning --seed $(DEMO_SEED) --out milr-demo

lint: develop  ## style and types
	$(BIN)/ruff check $(LINTED)
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/mypy

check: lint audit  ## lint, known vulnerabilities, the import table, the documented help
	$(BIN)/pytest tests/test_house.py

audit: develop  ## known vulnerabilities of what is installed; skipped where PyPI cannot be asked
	@if $(BIN)/python -c "from urllib.request import urlopen; urlopen('https://pypi.org/pypi/pip/json', timeout=10)" \
	    2>/dev/null; \
	then $(BIN)/pip-audit --local --skip-editable --progress-spinner off; \
	else echo "audit skipped: PyPI's list of vulnerabilities cannot be reached from here"; fi

test: lint  ## everything that runs in minutes
	$(BIN)/pytest -n 2 --dist loadfile

test-long: develop  ## kill loops, sweeps, examples and the documentation
	$(BIN)/pytest -m long

faults: develop  ## break everything that can break, counted in a table and faults-SEED.json (docs/reliability.md)
	$(BIN)/python -m tests.faults --seed $(FAULT_SEED) --scale $(FAULT_SCALE) --out faults-$(FAULT_SEED).json
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) --seed $$(($(FAULT_SEED) + 1))

docs: develop  ## the documentation site into docs/_build/html; a broken link or an undocumented name fails
	$(BIN)/sphinx-build -q -W -n --keep-going docs docs/_build/html
	$(BIN)/sphinx-build -q -W -n --keep-going -b coverage docs docs/_build/coverage

help-page: develop  ## write docs/help.md again from the real command line
	$(BIN)/python -m tests.help_pages > docs/help.md

clean:
	rm -rf $(VENV) milr-demo runs docs/_build
