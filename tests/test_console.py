"""What the command line prints: names that are never cut, and sentences about what changed at a step."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from milr import catalog
from milr.catalog.parts import Part
from milr.cli.console import PIPE_WIDTH, open_console, print_table
from milr.cli.menu import format_parts

Call = Callable[..., tuple[int, str, str]]
NAMES = [name for kind in catalog.KINDS for name in catalog.menu(kind)]


# --- Names are whole


def first_words(out: str) -> list[str]:
    return [line.split()[0] for line in out.splitlines() if line.strip() and not line.startswith(" ")]


@pytest.mark.parametrize("columns", [20, 60, 80, 200])
def test_a_list_begins_its_lines_with_whole_names_and_wraps_explanations(
    milr: Call, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = milr("list")
    assert code == 0 and "…" not in out
    assert [word for word in first_words(out) if word not in catalog.KINDS] == NAMES
    if columns >= 60:
        assert max(map(len, out.splitlines())) <= columns
    words = " ".join(out.split())
    assert all(part.licence in words for part in catalog.REWARDS.values()), "an explanation is wrapped, not cut"


def test_a_list_in_a_pipe_has_a_line_for_each_part() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    command = [sys.executable, "-W", "ignore", "-m", "milr.cli", "list", "models"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=True,
                          stdin=subprocess.DEVNULL)  # fmt: skip
    heading, *lines = done.stdout.rstrip("\n").splitlines()
    assert heading.split()[0] == "models"
    parts = catalog.menu("models")
    assert [line.split()[0] for line in lines] == list(parts)
    assert all(part.summary in line and part.licence in line for line, part in zip(lines, parts.values(), strict=True))


def test_a_benchmark_says_prompts_judge_and_calls() -> None:
    part = Part(lambda: None, "short", licence="MIT", prompts=1800, judge="a detector", judge_calls="3,600")
    _, *lines = format_parts("benchmarks", {"mine": part}, 500)
    assert lines == ["mine        short. Prompts: 1,800. Judge: a detector. Judge calls for one picture of each "
                     "prompt: 3,600. Licence: MIT."]  # fmt: skip


def test_a_part_without_needs_or_explanation_is_listed() -> None:
    parts = {"bare": Part(lambda: None, ""), "a/very-long-name": Part(lambda: None, "short", threshold=0.25)}
    heading, *lines = format_parts("rewards", parts, 10)
    assert [line.split()[0] for line in lines] == list(parts) and "0.25" in lines[1]


@pytest.mark.parametrize(("columns", "width"), [("40", 40), ("60", 60), ("", PIPE_WIDTH)])
def test_a_table_never_cuts_the_names_of_its_rows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    console = open_console()
    assert console.width == width
    rows = [[name, *["0.50 [0.40, 0.60]"] * 4] for name in ("MILR, joint", "z" * 90)]
    print_table(console, ["row", *"abcd"], rows)
    out = capsys.readouterr().out
    assert out.count("z") == 90 and "MILR, joint" in out, "a long name goes on in the next line"
    assert "…" not in out and out.count("[0.40, 0.60]") % 2 == 0, "numbers are whole, or their column is left out"
    assert ("(too narrow for: " in out) == (width < PIPE_WIDTH) and max(map(len, out.splitlines())) <= width


# --- What changed


@pytest.mark.parametrize("method", ["frozen", "redraw_plain", "redraw_sampled"])
def test_methods_without_updates_never_say_that_something_moved(milr: Call, method: str) -> None:
    flags = ("--steps", 2, "--no-stop", "--temperature", 3, "--out", method)
    code, out, _ = milr("generate", "a photo of a red star left of a blue circle", "--method", method, *flags)
    assert code == 0 and "moved" not in out
    assert "step  1" in out and "step  2" in out and out.count("drawn again") >= 2


def test_many_searches_say_how_often_nothing_changed(milr: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("shown = []\n\ndef later(picture, prompt):\n    shown.append(picture)\n"
                                      "    return 0.01 * len(shown)\n")  # fmt: skip
    (tmp_path / "prompts.txt").write_text("a star\na heart\n")
    flags = ("--prompts", "prompts.txt", "--reward", "mine.py:later", "--steps", 1, "--method")
    assert "\n2 of 2 returned pictures: drawn again, nothing changed\n" in milr("generate", *flags, "frozen")[1]
    assert "nothing changed" not in milr("generate", *flags, "redraw_sampled", "--temperature", 3)[1]


def test_a_search_says_at_each_step_and_at_its_end_what_changed(milr: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("shown = []\n\ndef later(picture, prompt):\n    shown.append(picture)\n"
                                      "    return 0.1 * len(shown)\n")  # fmt: skip
    flags = ("--reward", "mine.py:later", "--steps", 2, "--temperature", 3, "--out", "run")
    code, out, _ = milr("generate", "a star", *flags, "--learning-rate", 3)
    assert code == 0 and re.search(r"step  1 .* free text tokens? and \d+ of \d+ free image tokens? changed\n", out)
    assert re.search(r"change   \d+ of \d+ free text tokens", out)
    code, out, _ = milr("generate", "a star", *flags[:-1], "alt", "--learning-rate", 3, "--schedule", "alt")
    assert re.search(r"step  2 .* free text tokens?( and .*)? changed\n", out), "the changed text is still in force"
    flags = (*flags[:-1], "small", "--schedule", "text", "--learning-rate", 0.00001)
    code, out, _ = milr("generate", "a star", *flags)
    assert len(re.findall("step  [12] .*drawn again, nothing changed\n", out)) == 2
    assert "change   drawn again, nothing changed\n" in out


# --- Warnings and JSON


def test_what_a_small_world_cannot_draw_is_said_before_the_search(milr: Call) -> None:
    code, out, _ = milr("generate", "a star and a star", "--steps", 0, "--out", "run")
    assert code == 0 and out.startswith("warning  nano draws one small world only")
    code, out, err = milr("generate", "a star and a star", "--steps", 0, "--out", "another", "--json")
    assert code == 0 and "warning  nano draws" in err
    (outcome,) = json.loads(out)
    assert outcome["version"] == 1
    assert "warning" not in milr("generate", "a star", "--steps", 0, "--out", "other")[1]
