"""A user's plain function `(picture, prompt) -> score in [0, 1]` as a reward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from milr.base import Services, describe_error
from milr.rewards.vision.judge_thread import JudgeThread
from milr.types import Prompt, Score

if TYPE_CHECKING:
    from PIL.Image import Image


class FunctionReward:
    """Calls a function of picture and prompt that returns a number in [0, 1] or a `Score`.

    Unscored where it raises an Exception, returns something else, or takes longer than `seconds` (None: no limit).
    """

    range = (0.0, 1.0)
    threshold = 0.9
    needs: tuple[str, ...] = ()
    licence = "the user's own"

    def __init__(self, function: Callable[[Image, Prompt], float | Score], name: str,
                 seconds: float | None = None) -> None:  # fmt: skip
        self.function, self.name = function, name
        self._thread = JudgeThread(name, seconds)

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score for each picture, on a thread of the function's own; a number outside [0, 1] is unscored."""
        return [await self._thread.score(self._score, *pair) for pair in zip(pictures, prompts, strict=True)]

    def _score(self, picture: Image, prompt: Prompt) -> Score:
        try:
            result = self.function(picture, prompt)
        except Exception as error:
            return Score.unscored(f"{self.name} gave no score: {describe_error(error)}")
        if isinstance(result, Score):
            return result
        try:
            value = float("nan") if isinstance(result, (str, bytes)) else float(result)
        except Exception:  # what is no number
            value = float("nan")
        if not 0 <= value <= 1:
            return Score.unscored(f"{self.name} gave {repr(result)[:80]}, and scores are numbers in [0, 1]")
        return Score(value)
