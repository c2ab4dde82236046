"""Several judges as one: `weighted:a=0.5,b=0.5`."""

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
    """The weighted mean of the judges' scores; unscored where one of them is.

    `threshold` is the weighted mean of theirs, too, and `threshold_of` a category that of theirs for it.
    """

    range = (0.0, 1.0)

    def __init__(self, judges: Mapping[str, Reward], weights: Mapping[str, float]) -> None:
        whole = sum(weights.values())
        self.judges, self.weights = judges, {name: weight / whole for name, weight in weights.items()}
        self.name = "weighted:" + ",".join(f"{name}={weight:g}" for name, weight in weights.items())
        self.threshold = self._mean_of({name: judge.threshold for name, judge in judges.items()})
        self.needs = tuple(dict.fromkeys(need for judge in judges.values() for need in judge.needs))
        self.licence = "; ".join(dict.fromkeys(judge.licence for judge in judges.values()))

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """All judges are asked side by side; each one's score is a named part."""
        found = await asyncio.gather(*(judge.score(pictures, prompts, services) for judge in self.judges.values()))
        return [self._mean(dict(zip(self.judges, scores, strict=True))) for scores in zip(*found, strict=True)]

    def threshold_of(self, category: str) -> float:
        """Above which score to stop at a prompt of this category; a judge without categories has its one threshold."""
        return self._mean_of({name: _threshold(judge, category) for name, judge in self.judges.items()})

    def check(self, prompt: Prompt) -> None:
        """UsageError for a prompt that one of the judges can never judge."""
        for judge in self.judges.values():
            if callable(check := getattr(judge, "check", None)):
                check(prompt)

    def _mean(self, scores: Mapping[str, Score]) -> Score:
        calls, seconds = (sum(getattr(score, name) for score in scores.values()) for name in ("calls", "seconds"))
        parts = {name: score.value for name, score in scores.items() if score.value is not None}
        lost = [f"{name}: {score.reason}" for name, score in scores.items() if score.value is None]
        if lost:
            return Score(None, parts, "; ".join(lost), calls, seconds)
        reason = "; ".join(f"{name}: {score.reason}" for name, score in scores.items() if score.reason)
        return Score(self._mean_of(parts), parts, reason, calls, seconds)

    def _mean_of(self, values: Mapping[str, float]) -> float:
        return min(1.0, sum(self.weights[name] * value for name, value in values.items()))


def _threshold(judge: Reward, category: str) -> float:
    by_category = getattr(judge, "threshold_of", None)
    return by_category(category) if callable(by_category) else judge.threshold


def parse(argument: str) -> dict[str, float]:
    """ "a=0.5,b=0.5" to the weights; UsageError for anything else."""
    weights: dict[str, float] = {}
    name, *rest = argument.split("=")
    for piece in rest:  # a weight, a comma, the next name, which may have commas of its own: noisy:0.1,0.2
        told, comma, following = piece.partition(",")
        weight = _number(told)
        if not name or name in weights or not 0 < weight < math.inf or (comma and not following):
            raise _no_weights(argument)
        weights[name] = weight
        name = following
    if name or not weights:
        raise _no_weights(argument)
    return weights


def _number(told: str) -> float:
    try:
        return float(told)
    except ValueError:
        return math.nan


def _no_weights(argument: str) -> UsageError:
    return UsageError(f"'weighted:{argument}' is no weighted reward; give each judge once, with a weight above 0, such "
                      f"as {EXAMPLE}.")  # fmt: skip
