"""The documentation agrees with the program: fields, names, code, figures. The site itself is built by `make docs`."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import milr
from markdown import AT_THE_TOP, ROOT, SITE, blocks, links
from milr.cli.console import outcome_to_json
from milr.report.compare import export
from milr.report.compare import records as compared
from milr.report.compare.comparison import compare_runs
from milr.report.compare.updates import UpdateCounts
from milr.report.summary import Gain, Scores, summarise, to_csv, to_json
from milr.rewards.calibration_file import CalibrationFile, JudgeCalibration
from milr.runs import records, run_file, store
from milr.runs.config import RunConfig
from milr.types import Cost, ModalityInfo, Prompt, Score
from milr.workflows.agreement import Agreement
from milr.workflows.agreement import to_json as agreement_to_json
from outcomes import config, outcome

FILES = ROOT / "docs" / "reference" / "files.md"
EXAMPLES = ROOT / "examples"


def sections(page: Path) -> dict[str, str]:
    """The text below each heading, up to the next one of any level."""
    parts = re.split(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def first_column(section: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)


def fields_of(kind: type) -> list[str]:
    return list(getattr(kind, "model_fields", None) or kind.__dataclass_fields__)  # type: ignore[attr-defined]


# Fields


STORED = (CalibrationFile, JudgeCalibration,
          run_file.RunFile, run_file.WorkPeriod, RunConfig, records.Record, records.StepRecord, records.Judgement,
          ModalityInfo, Prompt, Cost)  # fmt: skip
PRINTED = (Scores, Gain, compared.RowResult, compared.ScopeScores, compared.MeanScore, compared.Difference,
           compared.MeanCost, compared.CurvePoint, compared.Example, compared.ExamplePicture,
           UpdateCounts)  # fmt: skip


@pytest.mark.parametrize("kind", STORED + PRINTED, ids=lambda kind: kind.__name__)
def test_every_field_is_on_the_page(kind: type) -> None:
    assert first_column(sections(FILES)[kind.__name__]) == fields_of(kind)


def test_the_columns_and_fields_of_a_run_are_on_the_page(tmp_path: Path) -> None:
    with store.RunStore(tmp_path).open(config()) as run:
        run.write(outcome())
    kept = store.RunStore(tmp_path).records()
    assert to_csv(kept).decode().splitlines()[0].split(",") == first_column(sections(FILES)["table.csv"])
    assert list(json.loads(to_json(summarise(kept)))) == first_column(sections(FILES)["report.json"])


def test_the_columns_and_fields_of_a_comparison_are_on_the_page(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with store.RunStore(tmp_path / name).open(config(method=name)) as run:
            run.write(outcome(judged={0: Score(0.0), 1: Score(1.0)}))
    both = compare_runs([tmp_path / "one", tmp_path / "two"], partial=True)
    assert set(export.to_csv(both).splitlines()[0].split(",")) == set(first_column(sections(FILES)["compare.csv"]))
    assert list(json.loads(export.to_json(both))) == first_column(sections(FILES)["Comparison"])


def test_what_generate_prints_is_on_the_page() -> None:
    printed = outcome_to_json(outcome(), Path("run"), config())
    assert list(printed) == first_column(sections(FILES)["milr generate --json"])


def test_the_fields_of_an_agreement_are_on_the_page() -> None:
    unknown: Any = dict.fromkeys(fields_of(Agreement))
    (printed,) = json.loads(agreement_to_json([Agreement(**unknown)]))
    assert list(printed) == first_column(sections(FILES)["Agreement"])


# Names


def test_every_public_name_is_on_the_page_about_python() -> None:
    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    assert {name for name in milr.__all__ if not re.search(rf"\bmilr\.{name}\b", page)} == set()


# Code


def python_blocks() -> Iterator[Any]:
    for page in [*SITE, *AT_THE_TOP]:
        for number, code in enumerate(blocks(page, "python")):
            yield pytest.param(code, id=f"{page.relative_to(ROOT)}-{number}")


@pytest.mark.parametrize("code", python_blocks())
def test_python_in_the_documentation_compiles(code: str) -> None:
    compile(code, "a block", "exec")


def test_python_in_the_readme_and_the_examples_is_typed(tmp_path: Path) -> None:
    """With mypy, strictly, as in the program of a user who has the package."""
    readme = [tmp_path / f"readme_{number}.py" for number, _ in enumerate(blocks(ROOT / "README.md", "python"))]
    for path, code in zip(readme, blocks(ROOT / "README.md", "python"), strict=True):
        path.write_text(code, encoding="utf-8")
    assert readme
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml"), *map(str, readme),
         *map(str, sorted(EXAMPLES.glob("*.py")))],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "MYPYPATH": "src"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_notebooks_are_kept_without_outputs() -> None:
    notebooks = sorted(EXAMPLES.glob("*.ipynb"))
    assert len(notebooks) >= 3
    for path in notebooks:
        cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
        assert not any(cell["outputs"] or cell["execution_count"] for cell in cells), f"{path.name}: clear its outputs"


# Figures and links


def test_the_figure_is_what_its_script_draws() -> None:
    folder = ROOT / "docs" / "figures"
    script = runpy.run_path(str(folder / "algorithm.py"))
    for name in ("light", "dark"):
        assert script["svg"](name) == (folder / f"algorithm-{name}.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", AT_THE_TOP, ids=lambda page: page.name)
def test_links_of_the_pages_at_the_top_lead_somewhere(page: Path) -> None:
    """Those of the site are checked when it is built."""
    inside = [target.partition("#")[0] for target in links(page) if not re.match(r"\w+:|#", target)]
    assert [target for target in inside if not (ROOT / target).exists()] == []
