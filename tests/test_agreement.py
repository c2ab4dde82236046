"""Rewards against the report metric: accuracy and ranking worked out by hand, and judging that resumes."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path

import pytest

from milr import catalog
from milr.models.janus import JanusModel
from milr.runs.store import RunStore
from milr.types import Outcome
from milr.workflows.agreement import HEADER, JudgedPicture, judge_run, measure_agreement, table_rows, to_json
from outcomes import config, outcome


def rows(*triples: tuple[str, float, float | None]) -> list[JudgedPicture]:
    return [
        JudgedPicture(group, metric, score, score is not None and score > 0.9, 0.5) for group, metric, score in triples
    ]


def test_rates_by_hand() -> None:
    numbers = measure_agreement("x", rows(("a", 1, 1), ("a", 1, 0.9), ("b", 0, 0.95), ("b", 0, 0.1), ("b", 0.5, 0.2)))
    assert (numbers.passed_right, numbers.passed_wrong) == (0.5, pytest.approx(1 / 3))
    assert numbers.balanced_accuracy == pytest.approx((0.5 + 2 / 3) / 2)
    assert numbers.pictures == numbers.scored == 5 and numbers.seconds == 0.5


def test_only_pairs_of_one_prompt_that_the_metric_tells_apart_are_ranked() -> None:
    numbers = measure_agreement("x", rows(("a", 1, 0.6), ("a", 0, 0.5), ("a", 0, 0.6), ("b", 1, 0.1), ("b", 0, 0.2)))
    # a: 0.6 over 0.5 is right, 0.6 over 0.6 a tie, the two wrong ones are no pair; b: the wrong way round
    assert numbers.ranked == pytest.approx((1 + 0.5 + 0) / 3)
    assert numbers.ranked_interval is not None and numbers.ranked_interval.low <= 0.5 <= numbers.ranked_interval.high


def test_unscored_pictures_are_counted_and_count_for_nothing_else() -> None:
    numbers = measure_agreement("x", rows(("a", 1, None), ("a", 1, 1), ("b", 0, 0)))
    assert (numbers.pictures, numbers.scored) == (3, 2)
    assert (numbers.passed_right, numbers.passed_wrong, numbers.balanced_accuracy) == (1, 0, 1)


def test_pictures_of_one_kind_tell_no_accuracy() -> None:
    numbers = measure_agreement("x", rows(("a", 1, 1), ("b", 1, 0)))
    assert numbers.passed_right == 0.5 and math.isnan(numbers.balanced_accuracy)
    assert numbers.ranked is None and numbers.balanced_interval is None
    assert len(table_rows([numbers])[0]) == len(HEADER)


def test_a_perfect_judge_has_a_perfect_interval() -> None:
    numbers = measure_agreement("x", rows(*((str(i), i % 2, float(i % 2)) for i in range(20))))
    assert numbers.balanced_accuracy == 1 and numbers.balanced_interval == (1, 1)


def test_judging_a_run_resumes_and_repeats(tmp_path: Path, tiny: JanusModel, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[Outcome] = [outcome(scores=(0.25, None, 1.0), sample=sample) for sample in range(2)]
    with RunStore(tmp_path).open(config(oracle=True)) as store:
        for searched in outcomes:
            store.write(searched)
    calls: list[int] = []

    def darkness(picture: object, prompt: object) -> float:
        calls.append(1)
        return 0.75

    from milr.rewards.function import FunctionReward

    monkeypatch.setattr(catalog, "make_reward", lambda name, model, options: FunctionReward(darkness, name))
    first = asyncio.run(judge_run(tmp_path, "mine", tiny))
    assert [(row.metric, row.score) for row in first] == [(0.25, 0.75), (1.0, 0.75)] * 2  # no metric, no row
    assert len(calls) == 6
    assert asyncio.run(judge_run(tmp_path, "mine", tiny)) == first and len(calls) == 6


def test_no_pictures_have_no_numbers_and_no_error() -> None:
    numbers = measure_agreement("x", [])
    assert (numbers.pictures, numbers.scored, numbers.ranked, numbers.balanced_interval) == (0, 0, None, None)
    assert table_rows([numbers]) == [["x", "0 of 0", "-", "-", "-", "-", "0.0000"]]
    assert json.loads(to_json([numbers]))[0]["balanced_accuracy"] is None
    assert measure_agreement("x", rows(("a", 1, None))).scored == 0
