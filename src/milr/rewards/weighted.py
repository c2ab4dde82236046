"""The reward `weighted:a=0.5,b=0.5`: the weighted mean of several rewards."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from milr.base import Reward, Services
from milr.types import Prompt, Score, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

EXAMPLE = "weighted:self=0.5,detector=0.5"


class WeightedReward:
    """The weighted mean of the judges' scores, in [0, 1]; unscored where one of them is.

    `judges` and `weights` have the same names; the weights are divided by their sum. `threshold` is the weighted mean
    of the judges' thresholds, and `threshold_of(category)` that of their thresholds for the category.
    """

    range = (0.0, 1.0)

    def __init__(self, judges: Mapping[str, Reward], weights: Mapping[str, float]) -> None:
        total = sum(weights.values())
        self.judges, self.weights = judges, {name: weight / total for name, weight in weights.items()}
        self.name = "weighted:" + ",".join(f"{name}={weight:g}" for name, weight in weights.items())
        self.threshold = self._weighted_mean({name: judge.threshold for name, judge in judges.items()})
        self.needs = tuple(dict.fromkeys(need for judge in judges.values() for need in judge.needs))
        self.licence = "; ".join(dict.fromkeys(judge.licence for judge in judges.values()))

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score for each picture; all judges are asked at once, and each one's score is a named part."""
        columns = await asyncio.gather(*(judge.score(pictures, prompts, services) for judge in self.judges.values()))
        return [self._combine(dict(zip(self.judges, scores, strict=True))) for scores in zip(*columns, strict=True)]

    def threshold_of(self, category: str) -> float:
        """The threshold for prompts of this category; a judge without categories has one threshold for all."""
        return self._weighted_mean({name: _threshold(judge, category) for name, judge in self.judges.items()})

    def check(self, prompt: Prompt) -> None:
        """UsageError for a prompt that one of the judges cannot judge."""
        for judge in self.judges.values():
            if callable(check := getattr(judge, "check", None)):
                check(prompt)

    def _combine(self, scores: Mapping[str, Score]) -> Score:
        calls, seconds = (sum(getattr(score, name) for score in scores.values()) for name in ("calls", "seconds"))
        parts = {name: score.value for name, score in scores.items() if score.value is not None}
        failures = [f"{name}: {score.reason}" for name, score in scores.items() if score.value is None]
        if failures:
            return Score(None, parts, "; ".join(failures), calls, seconds)
        reason = "; ".join(f"{name}: {score.reason}" for name, score in scores.items() if score.reason)
        return Score(self._weighted_mean(parts), parts, reason, calls, seconds)

    def _weighted_mean(self, values: Mapping[str, float]) -> float:
        return min(1.0, sum(self.weights[name] * value for name, value in values.items()))


def _threshold(judge: Reward, category: str) -> float:
    threshold_of = getattr(judge, "threshold_of", None)
    return threshold_of(category) if callable(threshold_of) else judge.threshold


def parse(argument: str) -> dict[str, float]:
    """The weights {"a": 0.5, "b": 0.5} of "a=0.5,b=0.5"; UsageError for anything else."""
    weights: dict[str, float] = {}
    name, *rest = argument.split("=")
    for piece in rest:  # a weight, a comma, and the next name, which may itself have commas: noisy:0.1,0.2
        text, comma, next_name = piece.partition(",")
        weight = _to_float(text)
        if not name or name in weights or not 0 < weight < math.inf or (comma and not next_name):
            raise _bad_weights(argument)
        weights[name] = weight
        name = next_name
    if name or not weights:
        raise _bad_weights(argument)
    return weights


def _to_float(text: str) -> float:
    """The number; not a number where the text is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _bad_weights(argument: str) -> UsageError:
    return UsageError(f"'weighted:{argument}' is not a weighted reward; name each judge once, with a weight above 0, "
                      f"such as {EXAMPLE}.")  # fmt: skip
