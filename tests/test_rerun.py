"""A run repeated from its folder alone: identical, or the first difference is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from milr.runs.record_files import encode_record
from milr.runs.sample_files import SampleFiles, read_sample, write_sample
from milr.runs.store import Record, RunStore
from outcomes import GREEN, RED, config, outcome

Call = Callable[..., tuple[int, str, str]]
SEARCH = ("--steps", "2", "--method", "redraw_sampled")


@pytest.fixture
def run(milr: Call, tmp_path: Path) -> Path:
    """A run of two prompts."""
    (tmp_path / "p.txt").write_text("a photo of two green squares\na photo of three red hearts\n")
    assert milr("generate", "--prompts", "p.txt", *SEARCH, "--out", "run")[0] == 0
    return tmp_path / "run"


def change(run: Path, old: str, new: str) -> None:
    """Replace some JSON in the first record that has it, as if the search had found that."""
    for path in sorted((run / "records").glob("*.json")):
        if old in (content := path.read_text()):
            _, files = read_sample(run, path.stem)
            record = Record.model_validate(json.loads(content.replace(old, new, 1)))
            write_sample(run, SampleFiles(files.name, encode_record(record), files.pictures))
            return
    raise AssertionError(f"no record has {old!r}")


def test_a_run_is_repeated_from_its_folder_alone(milr: Call, run: Path, tmp_path: Path) -> None:
    (tmp_path / "p.txt").unlink()
    code, printed, error = milr("rerun", run)
    assert code == 0, error
    assert "identical  2 of 2 samples have the same tokens, scores and pictures" in printed
    again = RunStore(tmp_path / "run-again")
    assert again.run().digest == RunStore(run).run().digest and len(again.records()) == 2
    code, printed, _ = milr("rerun", run, "--shard", "1/2", "--out", "part", "--in-flight", "1")
    assert code == 0 and "identical  1 of 1 samples" in printed


def test_what_differs_is_named(milr: Call, run: Path) -> None:
    change(run, '"stop": "', '"stop": "budget", "was": "')
    code, printed, _ = milr("rerun", run)
    assert code == 1
    assert "different  1 of 2 samples" in printed and "differs    " in printed and "stop 'budget' and" in printed


def test_a_benchmark_is_repeated_too(milr: Call) -> None:
    milr("bench", "shapes", "--limit", "1", *SEARCH, "--out", "bench")
    code, printed, error = milr("rerun", "bench")
    assert code == 0 and "identical  1 of 1 samples" in printed, error


def test_a_run_that_would_be_another_today_is_refused(milr: Call, run: Path) -> None:
    path = run / "run.json"
    content = json.loads(path.read_text())
    content["options"]["seed"] = 5
    path.write_text(json.dumps(content))
    code, _, error = milr("rerun", run)
    assert code == 2 and "cannot be repeated: here and now it would be another run (seed: 0 there, 5 here)" in error


def test_runs_that_cannot_be_repeated_say_why(milr: Call, tmp_path: Path) -> None:
    for name, changes, why in (
        ("old", {}, "does not say with which options"),
        ("scored", {"command": "score"}, "scores"),
    ):
        with RunStore(tmp_path / name).open(config(**changes), [RED, GREEN]) as store:
            store.write(outcome())
        code, _, error = milr("rerun", name)
        assert code == 2 and why in error
    code, _, error = milr("rerun", "old", "--out", "old")
    assert code == 2 and "is the run itself" in error
    code, _, error = milr("rerun", "nothing")
    assert code == 2 and "nothing holds no run" in error
