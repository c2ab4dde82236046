"""Several judges as one reward: the mean by hand, unscored when one judge is, and what its name may look like."""

from __future__ import annotations

import asyncio

import pytest
from PIL import Image

from milr.rewards.weighted import WeightedReward, parse
from milr.types import Prompt, Score, UsageError


class Fixed:
    range, needs, licence = (0.0, 1.0), ("metadata",), "none"

    def __init__(self, name: str, score: Score, threshold: float = 0.9) -> None:
        self.name, self.answer, self.threshold = name, score, threshold

    async def score(self, pictures, prompts, services):
        return [self.answer] * len(pictures)


def score_of(**judges: Fixed) -> Score:
    weights = {"a": 1.0, "b": 3.0}
    (score,) = asyncio.run(WeightedReward(judges, weights).score([Image.new("RGB", (2, 2))], [Prompt("x")], None))
    return score


def test_the_score_is_the_weighted_mean_with_its_parts() -> None:
    score = score_of(a=Fixed("a", Score(1.0, calls=2, seconds=1.0)), b=Fixed("b", Score(0.2, reason="grey")))
    assert score.value == pytest.approx(0.4) and score.parts == {"a": 1.0, "b": 0.2}
    assert score.reason == "b: grey" and score.calls == 3 and score.seconds == 1.0
    assert score_of(a=Fixed("a", Score(1.0)), b=Fixed("b", Score(1.0))).value == 1.0


def test_one_judge_that_fails_leaves_the_picture_unscored() -> None:
    score = score_of(a=Fixed("a", Score(1.0)), b=Fixed("b", Score.unscored("no network", calls=0)))
    assert score.value is None and score.reason == "b: no network" and score.parts == {"a": 1.0} and score.calls == 1


def test_it_declares_what_its_judges_do() -> None:
    reward = WeightedReward({"a": Fixed("a", Score(1.0), 0.5), "b": Fixed("b", Score(1.0), 0.9)}, {"a": 1.0, "b": 3.0})
    assert reward.threshold == pytest.approx(0.8) and reward.needs == ("metadata",) and reward.licence == "none"
    assert reward.name == "weighted:a=1,b=3"


class ByCategory(Fixed):
    def threshold_of(self, category: str) -> float:
        return {"color": 0.9, "complex": 0.4}[category]


def test_its_threshold_follows_the_category_where_a_judge_has_several() -> None:
    judges = {"a": ByCategory("a", Score(1.0), 0.9), "b": Fixed("b", Score(1.0), 0.5)}
    reward = WeightedReward(judges, {"a": 1.0, "b": 3.0})
    assert reward.threshold == reward.threshold_of("color") == pytest.approx(0.25 * 0.9 + 0.75 * 0.5)
    assert reward.threshold_of("complex") == pytest.approx(0.25 * 0.4 + 0.75 * 0.5)
    nested = WeightedReward({"c": reward, "b": judges["b"]}, {"c": 1.0, "b": 1.0})
    assert nested.threshold_of("complex") == pytest.approx((0.475 + 0.5) / 2)


def test_names_are_read_even_with_commas_of_their_own() -> None:
    assert parse("self=0.5,detector=0.5") == {"self": 0.5, "detector": 0.5}
    assert parse("noisy:0.1,0.2=2,self=1") == {"noisy:0.1,0.2": 2.0, "self": 1.0}
    assert parse("self=1,noisy:0,0=0.5,clip=2") == {"self": 1.0, "noisy:0,0": 0.5, "clip": 2.0}
    assert parse("judges/mine.py:score=1") == {"judges/mine.py:score": 1.0}


@pytest.mark.parametrize(
    "name",
    [
        "",
        "self",
        "self=",
        "self=0",
        "self=-1",
        "self=nan",
        "self=inf",
        "=1",
        "a=1,a=2",
        "a=1,",
        "a=1,b",
        "a=1=2",
        "a,b",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="weighted"):
        parse(name)
