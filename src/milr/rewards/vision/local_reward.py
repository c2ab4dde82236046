"""What the rewards share that judge pictures with networks on this machine, one picture at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from milr.base import Services
from milr.rewards.vision.judge_thread import JudgeThread
from milr.types import Prompt, Score

if TYPE_CHECKING:
    from PIL.Image import Image


class LocalReward:
    """A reward that judges one picture at a time on a thread of its own; the score is in [0, 1].

    A subclass sets `name`, `threshold` and `licence`, implements `judge`, and may override `needs` and `check`.
    `subject` names the judge in error messages ("": by the reward's name).
    """

    name: str
    range = (0.0, 1.0)
    threshold: float
    needs: tuple[str, ...] = ()
    licence: str

    def __init__(self, subject: str = "") -> None:
        self._thread = JudgeThread(subject or self.name)

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score for each picture, unscored where `judge` raises; UsageError where `check` refuses a prompt."""
        for prompt in prompts:
            self.check(prompt)
        return [await self._thread.score(self.judge, *pair) for pair in zip(pictures, prompts, strict=True)]

    def check(self, prompt: Prompt) -> None:
        """UsageError, with the reason, for a prompt that can never be judged; any prompt can, unless overridden."""

    def judge(self, picture: Image, prompt: Prompt) -> Score:
        """The score of one picture; whatever it raises leaves the picture unscored."""
        raise NotImplementedError
