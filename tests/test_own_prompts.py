"""Prompts and benchmarks of a user's own: what they bring is kept, what they lack is filled in, and errors are told."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from milr import catalog
from milr.options import Options
from milr.runs.config import prompts_digest
from milr.runs.store import RunStore
from milr.shapes.clauses import problem_of
from milr.shapes.splits import prompts as split_prompts
from milr.shapes.world import ShapesWorld
from milr.types import Prompt, UsageError
from milr.workflows.prepare import _reward_names
from milr.workflows.prompts import checked_prompts, outside_the_world
from outcomes import config

MODEL: Any = SimpleNamespace(name="nano", world=ShapesWorld(), check=lambda text: None)
CLAUSES = {"tag": "mine", "include": [{"class": "star", "count": 2, "color": "red"}]}
BENCH = {"tag": "single_object", "include": [{"class": "bench", "count": 1}]}


def checked(*prompts: str | Prompt) -> tuple[Prompt, ...]:
    return checked_prompts(prompts, MODEL)


# --- metadata


def test_a_category_and_metadata_that_a_prompt_brings_are_kept() -> None:
    prompt = Prompt("a red star", "1", "mine", CLAUSES, source="a line")
    assert checked(prompt) == (prompt,)
    outside = Prompt("a crimson star", "1", "mine", CLAUSES)
    assert checked(outside) == (outside,)


def test_what_is_missing_comes_from_the_grammar() -> None:
    (read,) = checked("a red star")
    assert read.category == "colors" and read.metadata == ShapesWorld().read("a red star").metadata  # type: ignore[union-attr]
    (named,) = checked(Prompt("a red star", category="mine"))
    assert (named.category, named.metadata) == ("mine", read.metadata)
    (judged,) = checked(Prompt("a red star", metadata=CLAUSES))
    assert (judged.category, judged.metadata) == ("colors", CLAUSES)
    assert checked("a cat") == (Prompt("a cat"),)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes"])
def test_metadata_that_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match="the metadata of 'a red star' is no JSON"):
        checked(Prompt("a red star", metadata={"include": [], "extra": value}))


def test_metadata_too_deep_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(UsageError, match="the metadata of 'a red star' is nested deeper than"):
        checked(Prompt("a red star", metadata=deep))


def test_prompts_that_come_out_the_same_have_the_digest_of_the_version_before() -> None:
    """Nothing given, and what the grammar would have said: the digest that stored runs have."""
    plain = checked("a red star", "three hearts", "a cat")
    given = checked(*(dataclasses.replace(prompt, source="line") for prompt in plain))
    assert prompts_digest(given) == prompts_digest(plain)
    assert prompts_digest(plain) == "15053f2879384a4bd2ada9502a75e646e6ca25ea633ec13e0470b7abd4ea62ce"


def test_a_run_with_other_metadata_is_refused_with_a_clear_sentence(tmp_path: Path) -> None:
    before, now = checked("a red star"), checked(Prompt("a red star", category="mine"))
    with RunStore(tmp_path).open(config(prompts_digest=prompts_digest(before)), before):
        pass
    says = "the prompts' words are the same, their categories or metadata are not"
    with pytest.raises(UsageError, match=says):
        RunStore(tmp_path).open(config(prompts_digest=prompts_digest(now)), now)
    with pytest.raises(UsageError) as other:
        RunStore(tmp_path).open(config(prompts_digest=prompts_digest(now), seed=7), before)
    assert says not in str(other.value)


# --- who judges


def names(*prompts: str | Prompt, **options: Any) -> tuple[str, str]:
    return _reward_names(Options(**options), checked(*prompts), MODEL)


def test_default_judges() -> None:
    assert names("a red star") == names(Prompt("a red star", metadata=CLAUSES)) == ("held-out", "detector")
    assert names("a cat") == names(Prompt("a bench", metadata=BENCH)) == ("self", "")
    assert names("a red star", "a cat") == ("held-out or self", "detector")
    assert names("a red star", Prompt("a bench", metadata=BENCH)) == ("self", ""), "metadata says who judges"
    assert names(Prompt("a crimson star", metadata=CLAUSES), reward="detector") == ("detector", "")


@pytest.mark.parametrize("name", ["detector", "held-out", "noisy:0,0", "weighted:detector=1", "detector or held-out"])
def test_metadata_that_the_metric_cannot_judge_by_is_refused(name: str) -> None:
    judge: Any = catalog.make_reward(name, None, Options())
    judge.check(Prompt("a red star", metadata=CLAUSES))
    with pytest.raises(UsageError, match="the metadata of 'a red star' asks for 'bench', and the world has circle"):
        judge.check(Prompt("a red star", metadata=BENCH))


STAR = {"class": "star", "count": 1}


@pytest.mark.parametrize("metadata, says", [
    ({}, "is not in GenEval's form"), ({"include": []}, "has no include clause"), ({"include": 3}, "is not in"),
    ({"include": [3]}, "is not in"), ({"include": [{"class": "star"}]}, "is not in"),
    ({"include": [STAR | {"count": 0}]}, "asks for 0 of star"), ({"include": [STAR | {"count": "x"}]}, "asks for 'x'"),
    ({"include": [STAR | {"color": "crimson"}]}, "asks for color 'crimson'"),
    ({"include": [STAR | {"mood": "red"}]}, "asks for mood"), ({"include": [STAR | {"color": ["red"]}]}, "asks for"),
    ({"include": [STAR | {"position": ["near", 0]}]}, "asks for the position"),
    ({"include": [STAR | {"position": ["above", 5]}]}, "asks for the position"),
    ({"include": [STAR | {"position": 7}]}, "is not in"), ({"include": [STAR], "exclude": [{"class": "cat"}]}, "'cat'"),
])  # fmt: skip
def test_clauses_that_cannot_be_judged(metadata: dict[str, Any], says: str) -> None:
    assert says in problem_of(metadata)


@pytest.mark.parametrize("split", ["test", "hard"])
def test_the_clauses_of_the_grammar_can_be_judged(split: str) -> None:
    assert {problem_of(prompt.metadata or {}) for prompt in split_prompts(split)} == {""}


# --- the warning


def test_the_warning_counts_the_prompts_outside_the_world() -> None:
    def warning(*prompts: str) -> str:
        return "".join(outside_the_world(checked(*prompts), MODEL))

    assert "and 'a cat' is not about it: expect a picture of" in warning("a cat", "a red star")
    assert "and 'a cat' and 1 other prompt are not about it: expect pictures of" in warning("a cat", "a dog")
    assert "and 'a cat' and 2 other prompts are not about it" in warning("a cat", "a dog", "a cow")
    assert warning("a red star") == ""


# --- benchmarks in files

FILE = """
import sys

class Bench:
    name, metric, layout = "mine", "detector", ""

    def prompts(self):
        {body}

class Half:
    name = "half"

class Breaks:
    def __init__(self):
        {body}
"""


@pytest.mark.parametrize("body, says", [
    ("return [1 / 0]", r"ZeroDivisionError: division by zero \(.*own\.py, line 8\)"),
    ("return int('x')", r"ValueError: invalid literal .*own\.py, line 8\)"),
    ("import json; return json.loads('{')", r"JSONDecodeError: .*own\.py, line 8\)"),
    ("sys.exit()", r"SystemExit \(.*own\.py, line 8\)"),
    ("return ['a star']", "must be milr.types.Prompt"), ("return []", "has no prompts"),
])  # fmt: skip
def test_a_benchmark_file_that_raises_says_where(tmp_path: Path, body: str, says: str) -> None:
    path = tmp_path / "own.py"
    path.write_text(FILE.format(body=body))
    benchmark = catalog.make_benchmark(f"{path}:Bench")
    with pytest.raises(UsageError, match=says):
        benchmark.prompts()


def test_a_benchmark_s_factory_that_raises_says_where(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(FILE.format(body="raise KeyError('a')"))
    with pytest.raises(UsageError, match=r"Breaks cannot be made: KeyError: 'a' \(.*own\.py, line 15\)\."):
        catalog.make_benchmark(f"{path}:Breaks")
    with pytest.raises(UsageError, match="is no whole benchmark; it lacks metric, layout, prompts"):
        catalog.make_benchmark(f"{path}:Half")
    path.write_text("x = 1\nsys.exit(3)\n")
    with pytest.raises(UsageError, match=r"does not load: NameError: .*own\.py, line 2\)"):
        catalog.make_benchmark(f"{path}:x")


def test_a_benchmark_in_a_file_keeps_its_own_attributes(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text("from milr.types import Prompt\nclass Bench:\n    name, metric, layout = 'mine', 'self', ''\n"
                    "    deviations = ('so',)\n    def prompts(self): return [Prompt('a star')]\n")  # fmt: skip
    benchmark: Any = catalog.make_benchmark(f"{path}:Bench")
    assert benchmark.prompts() == [Prompt("a star")] and benchmark.deviations == ("so",)
    assert json.dumps([benchmark.name, benchmark.metric, benchmark.layout]) == '["mine", "self", ""]'
