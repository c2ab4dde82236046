"""A finished run is shown again without its model, and only where the very same was asked for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from milr.catalog.identity import search_code_hash
from milr.options import Options
from milr.types import Prompt
from milr.workflows.finished import find_finished, finished_run, request_digest
from milr.workflows.generate import generate
from same_tokens import assert_same

ROOT = Path(__file__).parents[1]
REWARDS = Path(__file__).with_name("scripted.py")
PROMPTS = ["a red star", "two green star"]


@pytest.fixture
def options(tiny_folder: Path) -> Options:
    return Options(model=str(tiny_folder), reward="self", steps=1, samples=2, device="cpu",
                   reasoning_prompt="plan the picture : {prompt}", threshold=1.0)  # fmt: skip


def make(options: Options, out: Path) -> Any:
    chosen = {name: getattr(options, name) for name in options.__dataclass_fields__}
    return generate(PROMPTS, out=out, **chosen)


def test_a_finished_run_answers_in_the_order_of_the_run(options: Options, tmp_path: Path) -> None:
    made = make(options, tmp_path / "run")
    shown = find_finished(PROMPTS, replace(options, in_flight=1, threads=2), tmp_path / "run")
    assert shown is not None and shown[0] == tmp_path / "run" and len(shown[1]) == 4
    for left, right in zip(made, shown[1], strict=True):
        assert left.key == right.key and assert_same(left, right)
    lean = find_finished(PROMPTS, options, tmp_path / "run", tokens=False)
    assert lean is not None and [each.score for each in lean[1]] == [each.score for each in shown[1]]
    assert all(step.rollout.image.ids == () for each in lean[1] for step in each.steps)


def test_without_a_folder_the_run_is_found_by_its_first_prompt(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(options, Path("runs/a-red-star-12345678"))
    make(replace(options, seed=1), Path("runs/a-red-star-00000000"))
    found = find_finished(PROMPTS, options, None)
    assert found is not None and found[0].name == "a-red-star-12345678"
    assert find_finished(PROMPTS[::-1], options, None) is None


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"steps": 2}, {"samples": 1}, {"reward": "self:json"}, {"threshold": 0.5}]
)
def test_another_request_is_not_answered(options: Options, tmp_path: Path, change: dict[str, Any]) -> None:
    make(options, tmp_path / "run")
    assert find_finished(PROMPTS, replace(options, **change), tmp_path / "run") is None
    assert find_finished(PROMPTS[:1], options, tmp_path / "run") is None
    assert find_finished([Prompt("a red star", "1"), PROMPTS[1]], options, tmp_path / "run") is None


def test_changed_model_files_make_another_request(options: Options, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    first = request_digest(replace(options, model=str(folder)), PROMPTS)
    (folder / "config.json").write_text("{ }")
    assert request_digest(replace(options, model=str(folder)), PROMPTS) != first != ""


@pytest.mark.parametrize("change", [
    {"reward": f"{REWARDS}:Brightness"}, {"metric": "clip"}, {"reward": "judge"}, {"method": "mine.py:method"},
    {"model": "mine.py:model"}, {"reward": "weighted:self=1"}, {"judge_template": "words.txt"}, {"model": "/nowhere"},
])  # fmt: skip
def test_what_a_digest_cannot_hold_has_none(options: Options, change: dict[str, Any]) -> None:
    assert request_digest(options, PROMPTS) != ""
    assert request_digest(replace(options, **change), PROMPTS) == ""


@pytest.mark.parametrize("damage", ["record", "picture", "run.json"])
def test_an_unfinished_or_damaged_run_is_not_shown(options: Options, tmp_path: Path, damage: str) -> None:
    make(options, tmp_path / "run")
    if damage == "run.json":
        (tmp_path / "run" / "run.json").write_text("{")
    else:
        pattern = "records/*.json" if damage == "record" else "images/*/*.png"
        sorted((tmp_path / "run").glob(pattern))[0].unlink()
    assert find_finished(PROMPTS, options, tmp_path / "run") is None
    assert find_finished(PROMPTS, options, tmp_path / "nowhere") is None


def run_twice(arguments: list[str], cwd: Path) -> list[subprocess.CompletedProcess[str]]:
    """The same command twice, each saying on stderr whether torch was loaded."""
    code = ("import sys\nfrom milr.cli import main\nsys.argv = ['milr', *sys.argv[1:]]\n"
            "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
            "print('TORCH', 'torch' in sys.modules, file=sys.stderr)")  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return [subprocess.run([sys.executable, "-W", "ignore", "-c", code, *arguments], cwd=cwd, env=environment,
                           check=True, capture_output=True, text=True, timeout=100) for _ in range(2)]  # fmt: skip


def copy_of_package(folder: Path) -> Path:
    return Path(shutil.copytree(ROOT / "src" / "milr", folder / "milr", ignore=shutil.ignore_patterns("*.safetensors")))


EXPERIMENT = """title = "two rows"
benchmark = "shapes"
limit = 2
[base]
steps = 1
[rows.frozen]
method = "frozen"
[rows.moved]
method = "latent_reasoning"
"""


@pytest.mark.parametrize("arguments", [
    ["generate", "a red star", "--json"], ["bench", "shapes", "--limit", "2", "--steps", "1", "--json"],
    ["experiment", "rows.toml", "--json"],
])  # fmt: skip
def test_a_command_shows_what_is_finished_without_torch(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "rows.toml").write_text(EXPERIMENT)
    runs = run_twice(arguments, tmp_path)
    assert "TORCH True" in runs[0].stderr and "TORCH False" in runs[1].stderr
    assert "this run is finished" in runs[1].stderr or "0 samples to make" in runs[1].stderr
    assert json.loads(runs[0].stdout) == json.loads(runs[1].stdout)


def test_a_run_of_other_code_of_the_methods_is_prepared_again(options: Options, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    make(options, tmp_path / "run")
    assert find_finished(PROMPTS, options, tmp_path / "run")
    monkeypatch.setattr("milr.workflows.finished.search_code_hash", lambda: "that of a later version")
    assert find_finished(PROMPTS, options, tmp_path / "run") is None


def test_what_decides_how_a_method_searches_is_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = search_code_hash()
    monkeypatch.setattr("milr.catalog.identity.__file__", str(copy_of_package(tmp_path) / "catalog" / "identity.py"))
    assert search_code_hash() == before
    with open(tmp_path / "milr" / "methods" / "repair.py", "a") as file:
        file.write("# later")
    assert search_code_hash() != before


def test_code_that_has_not_changed_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = search_code_hash()
    monkeypatch.setattr(Path, "read_bytes", lambda path: b"other")
    assert search_code_hash() == before


def test_a_run_of_the_same_prompts_is_no_run_of_a_benchmark(options: Options, tmp_path: Path) -> None:
    make(options, tmp_path / "run")
    prompts = [Prompt(text) for text in PROMPTS]
    finished = finished_run(prompts, options, tmp_path / "run", "")
    assert finished and finished[0] == tmp_path / "run" and len(finished[1].records) == 2 * len(prompts)
    assert finished_run(prompts, options, tmp_path / "run", "shapes") is None
