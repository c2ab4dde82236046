# Two commands do everything on a fresh machine: make demo, make test.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_PROMPT ?= a photo of a large striped blue star left of a small outlined red heart
DEMO_SEED ?= 9

.PHONY: demo test test-long check lint install docs clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: install  ## make one picture with MILR on the embedded model, and a report
	$(BIN)/milr generate "$(DEMO_PROMPT)" --seed $(DEMO_SEED) --out milr-demo

lint: install  ## style and types
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

check: lint  ## lint, the import table, the documented help
	$(BIN)/pytest tests/test_house.py

test: lint  ## everything that runs in minutes
	$(BIN)/pytest

test-long: install  ## kill loops and sweeps
	$(BIN)/pytest -m long

docs: install  ## write docs/help.md again from the real command line
	$(BIN)/python -m tests.help_pages > docs/help.md

clean:
	rm -rf $(VENV) milr-demo runs
