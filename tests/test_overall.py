"""The benchmarks' overall scores (EVALUATION.md 1.7, 2.7, 3.5) as the tables have them, by hand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest

from milr.report.compare.records import ScopeScores
from milr.report.compare.rows import Sample, SampleKey, ScoredPicture
from milr.report.compare.scores import OVERALL, align, missing_prompts, score_rows
from milr.rules.wise import EDITIONS, LEGACY, VERIFIED, Edition, category_of
from milr.types import Cost

VALUES = {"culture": 0.5, "time": 1.0, "space": 0.0, "biology": 0.2, "physics": 0.4, "chemistry": 0.6}
OVERALLS = {
    "wise": 0.4 * 0.5 + 0.167 * 1.0 + 0.133 * 0.0 + 0.1 * (0.2 + 0.4 + 0.6),
    "wise-verified": 0.4 * 0.5 + 0.12 * (1.0 + 0.0 + 0.2 + 0.4 + 0.6),
}


def parts(scores: Iterable[tuple[str, str, float | None]], edition: Edition | None = None) -> dict[str, ScopeScores]:
    """The parts of one row whose pictures have these ids, categories and scores."""
    samples = [Sample(SampleKey(name, f"prompt {name}", 0, 0), category,
                      (ScoredPicture(None, score, Cost(), Path(), ""),), 0, Cost())
               for name, category, score in scores]  # fmt: skip
    (scores,) = score_rows(align([SimpleNamespace(samples=samples)], edition), ["a row"], 0)  # type: ignore[list-item]
    return scores


def wise(edition: Edition, changed: dict[int, float | None] | None = None, absent: tuple[int, ...] = ()
         ) -> dict[str, ScopeScores]:  # fmt: skip
    values = {number: VALUES[category_of(number, edition)] for number in range(1, 1001)} | (changed or {})
    return parts(((str(number), category_of(number, edition), value)
                  for number, value in values.items() if number not in absent), edition)  # fmt: skip


@pytest.mark.parametrize("name", EDITIONS)
def test_wise_weighs_its_categories_as_published(name: str) -> None:
    scores = wise(EDITIONS[name])
    assert scores[OVERALL].returned.score == pytest.approx(OVERALLS[name], abs=1e-12)
    assert {category: scores[category].returned.score for category in VALUES} == pytest.approx(VALUES)
    assert OVERALLS[name] != pytest.approx(sum(VALUES.values()) / 6), "the plain mean cannot be told apart"


@pytest.mark.parametrize("lost", [{"absent": (568,)}, {"changed": {568: None}}], ids=["missing", "unscored"])
def test_wise_has_no_overall_score_without_all_its_prompts(lost: dict[str, object]) -> None:
    scores = wise(LEGACY, **lost)  # type: ignore[arg-type]
    assert scores[OVERALL].returned.score is None and scores[OVERALL].returned.interval is None
    assert scores["space"].returned.score == 0.0 and scores["culture"].returned.score == pytest.approx(0.5)
    assert wise(LEGACY, {568: 0.0})[OVERALL].returned.score is not None
    assert wise(VERIFIED, absent=(1000,))[OVERALL].returned.score is None


def test_a_seed_that_lacks_a_prompt_leaves_wise_without_an_overall_score() -> None:
    keys = [SampleKey(str(number), "p", seed, 0) for seed in (0, 1) for number in range(1, 1001)]
    assert missing_prompts(keys, LEGACY) == [] and missing_prompts(keys[:-1], LEGACY) == [1000]
    assert missing_prompts([*keys[1:1000], *keys[1000:]], LEGACY) == [1]


def test_the_others_weigh_their_categories_alike() -> None:
    scores = {"single_object": [1.0], "two_object": [1.0, 0.0], "counting": [0.0, 0.0, 0.0], "colors": [1.0],
              "position": [0.0], "color_attr": [1.0, 1.0, 0.0, 0.0]}  # fmt: skip
    rows = [(f"{tag}-{index}", tag, value) for tag, values in scores.items() for index, value in enumerate(values)]
    assert parts(rows)[OVERALL].returned.score == pytest.approx((1 + 0.5 + 0 + 1 + 0 + 0.5) / 6, abs=1e-12)
    lost = [(name, tag, None if tag == "position" else value) for name, tag, value in rows]
    assert parts(lost)[OVERALL].returned.score is None, "no overall score without a task's"
