"""`milr bench list FILE`: one's own prompts, judged by a reward of one's choice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Bench = Callable[..., tuple[int, str, str]]
REWARD = """
def score(picture, prompt):
    return 1.0 if "red" in prompt.text else 0.5
"""


@pytest.fixture
def bench(milr: Bench, tiny_folder: Path, tmp_path: Path) -> Bench:
    Path("mine.py").write_text(REWARD)
    Path("prompts.csv").write_text(
        "prompt,category\na red star,colour\ntwo star,number\na big star,\na red star,number\n"
    )
    return lambda *more: milr("bench", "list", *more, "--model", tiny_folder, "--method", "plain", "--steps", 0)


def test_own_prompts_with_an_own_reward(bench: Bench, milr: Bench) -> None:
    command = ("prompts.csv", "--reward", "mine.py:score", "--out", "run")
    code, out, err = bench(*command, "--json")
    assert code == 0, err
    comparison = json.loads(out)
    assert comparison["benchmark"] == "list" and comparison["prompts"] == 3, "the second red star is left out"
    (row,) = comparison["rows"]
    means = {name: scope["returned"]["score"] for name, scope in row["categories"].items()}
    assert means == {"": 0.5, "colour": 1.0, "number": 0.5}
    assert row["overall"]["returned"]["score"] == pytest.approx(2 / 3)
    code, out, err = bench(*command, "--json")
    assert code == 0 and json.loads(out)["rows"] == comparison["rows"], "the same command resumes"
    assert bench("prompts.csv", "--reward", "mine.py:score", "--limit", 1, "--out", "one")[0] == 0
    assert bench("prompts.csv", "--reward", "self", "--metric", "mine.py:score", "--categories", "colour", "--out", "x")[0] == 0  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(
    ("command", "says_what"),
    [
        (("prompts.csv",), "has no judge of its own: name one with --reward"),
        ((), "milr bench list FILE"),
        (("prompts.csv", "--split", "hard"), "without --prompts and --split"),
        (("prompts.csv", "--reward", "self", "--categories", "taste"), "there is no category 'taste'"),
        (("absent.csv", "--reward", "self"), "absent.csv"),
        (("empty.txt", "--reward", "self"), "holds no prompts"),
    ],
)
def test_what_is_no_list_is_told_in_a_sentence(bench: Bench, command: tuple[str, ...], says_what: str) -> None:
    Path("empty.txt").write_text("\n")
    code, _, err = bench(*command)
    assert code == 2 and says_what in " ".join(err.split())


def test_a_file_belongs_to_list_alone(milr: Bench) -> None:
    code, _, err = milr("bench", "shapes", "prompts.csv")
    assert code == 2 and "leave prompts.csv out, or name it --prompts" in " ".join(err.split())
