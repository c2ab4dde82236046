"""A user's plain function as a reward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from milr.base import Services
from milr.types import Prompt, Score

if TYPE_CHECKING:
    from PIL.Image import Image


class FunctionReward:
    """A plain function (picture, prompt) -> score in [0, 1] or Score, as a reward; what it raises is unscored."""

    range = (0.0, 1.0)
    threshold = 0.9
    needs: tuple[str, ...] = ()
    licence = "the user's own"

    def __init__(self, function: Callable[[Image, Prompt], float | Score], name: str) -> None:
        self.function, self.name = function, name

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score for each picture; a number outside [0, 1] is unscored."""
        return [self._one(picture, prompt) for picture, prompt in zip(pictures, prompts, strict=True)]

    def _one(self, picture: Image, prompt: Prompt) -> Score:
        try:
            value = self.function(picture, prompt)
            number = value if isinstance(value, Score) else float(value)
        except Exception as error:
            return Score.unscored(f"{self.name} gave no score: {type(error).__name__}: {error}")
        if isinstance(number, Score):
            return number
        if not 0 <= number <= 1:
            return Score.unscored(f"{self.name} gave {number}, and scores lie in [0, 1]")
        return Score(number)
