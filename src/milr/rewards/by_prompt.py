"""The reward `A or B`: the reward A judges the prompts that have metadata, and B the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from milr.base import Reward, Services
from milr.types import Prompt, Score

if TYPE_CHECKING:
    from PIL.Image import Image


class ByPromptReward:
    """`informed` judges the prompts with metadata, `general` the others; the threshold is the higher of the two."""

    range = (0.0, 1.0)
    needs: tuple[str, ...] = ()

    def __init__(self, informed: Reward, general: Reward) -> None:
        self.informed, self.general = informed, general
        self.name = f"{informed.name} or {general.name}"
        self.threshold = max(informed.threshold, general.threshold)
        self.licence = f"{informed.licence}; {general.licence}"

    def identity(self) -> dict[str, Any]:
        """What the two judges say of themselves, by their names; {} where neither says anything."""
        judges = [judge for judge in (self.informed, self.general) if callable(getattr(judge, "identity", None))]
        return {judge.name: dict(judge.identity()) for judge in judges}  # type: ignore[attr-defined]

    def check(self, prompt: Prompt) -> None:
        """UsageError for a prompt that its judge cannot judge."""
        judge = self.general if prompt.metadata is None else self.informed
        if callable(check := getattr(judge, "check", None)):
            check(prompt)

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score for each picture, in [0, 1], by the judge for its prompt."""
        scores: list[Score] = []
        for picture, prompt in zip(pictures, prompts, strict=True):
            judge = self.general if prompt.metadata is None else self.informed
            scores += await judge.score([picture], [prompt], services)
        return scores
