"""The reward of `--choose`: one judge says whether a picture passes, another one which of several is chosen.

The score is (pass + choice) / 2, where `pass` is 1 if the first judge's score is above its threshold, else 0, and
`choice` is the second judge's score. So every picture that passes is above every one that does not, among them the
second judge chooses, and the search stops where the first judge passes a picture and the second one does, too. The
model's own judgements are no probabilities where nobody has calibrated them: then the first judge alone stops a search,
and the second one chooses among pictures of which none passes.
A second judge that compares the pictures of a search (`rank:a,b`) chooses by its comparison.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from milr.base import Reward, Services
from milr.types import Prompt, Score

if TYPE_CHECKING:
    from PIL.Image import Image


LEAST = 1e-6


class ChoiceReward:
    """`passing` decides, `choosing` chooses; unscored where one of them is.

    `threshold` is the first judge's (its own by category where None is given). The parts are both judges' scores under
    their names, those of the first judge, and those that the second one compares pictures by.
    """

    range = (0.0, 1.0)

    def __init__(self, passing: tuple[str, Reward], choosing: tuple[str, Reward], threshold: float | None = None
                 ) -> None:  # fmt: skip
        (self.passing_name, self.passing), (self.choosing_name, self.choosing) = passing, choosing
        self.judges = dict((passing, choosing))
        self.name = f"{self.passing_name} chosen by {self.choosing_name}"
        self.pass_threshold = threshold
        says_when = getattr(self.choosing, "calibration", ()) is not None
        self.threshold = (1 + self.choosing.threshold) / 2 if says_when else 0.5
        self.needs = tuple(dict.fromkeys((*self.passing.needs, *self.choosing.needs)))
        self.licence = "; ".join(dict.fromkeys((self.passing.licence, self.choosing.licence)))
        if hasattr(self.choosing, "best_of"):
            self.best_of = self._best_of

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score for each picture; both judges are asked at once."""
        columns = await asyncio.gather(*(judge.score(pictures, prompts, services)
                                         for judge in (self.passing, self.choosing)))  # fmt: skip
        return [self._combine(*row) for row in zip(*columns, prompts, strict=True)]

    def identity(self) -> dict[str, object]:
        """The threshold of the first judge."""
        return {"threshold": self.passing.threshold if self.pass_threshold is None else self.pass_threshold}

    def check(self, prompt: Prompt) -> None:
        """UsageError for a prompt that one of the judges cannot judge."""
        for judge in (self.passing, self.choosing):
            if callable(check := getattr(judge, "check", None)):
                check(prompt)

    def _best_of(self, scores: Sequence[Score], prompt: Prompt) -> int | None:
        """The second judge's choice among the pictures that pass, else among all that are scored."""
        scored = [index for index, score in enumerate(scores) if score.value is not None]
        passing = [index for index in scored if scores[index].parts[self.passing_name] > self._threshold(prompt)]
        among = passing or scored
        chosen = self.choosing.best_of([scores[index] for index in among], prompt)  # type: ignore[attr-defined]
        return None if chosen is None else among[chosen]

    def _combine(self, passing: Score, choosing: Score, prompt: Prompt) -> Score:
        calls, seconds = passing.calls + choosing.calls, passing.seconds + choosing.seconds
        scores = {self.passing_name: passing, self.choosing_name: choosing}
        reason = "; ".join(f"{name}: {score.reason}" for name, score in scores.items() if score.reason)
        parts = dict(passing.parts) | (dict(choosing.parts) if hasattr(self, "best_of") else {})
        parts |= {name: score.value for name, score in scores.items() if score.value is not None}
        if passing.value is None or choosing.value is None:
            failed = "; ".join(f"{name}: {score.reason}" for name, score in scores.items() if score.value is None)
            return Score(None, parts, failed, calls, seconds)
        passes = passing.value > self._threshold(prompt)
        choice = max(choosing.value, LEAST) if passes else choosing.value  # what passes is above one half, always
        return Score((passes + choice) / 2, parts, reason, calls, seconds)

    def _threshold(self, prompt: Prompt) -> float:
        if self.pass_threshold is not None:
            return self.pass_threshold
        by_category = getattr(self.passing, "threshold_of", None)
        return by_category(prompt.category) if callable(by_category) else self.passing.threshold
