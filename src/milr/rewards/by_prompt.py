"""The default reward of mixed prompts: one judge for those that carry metadata, another for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from milr.base import Reward, Services
from milr.types import Prompt, Score

if TYPE_CHECKING:
    from PIL.Image import Image


class ByPrompt:
    """`informed` judges prompts with metadata, `general` the rest; the stricter threshold of the two holds."""

    range = (0.0, 1.0)
    needs: tuple[str, ...] = ()

    def __init__(self, informed: Reward, general: Reward) -> None:
        self.informed, self.general = informed, general
        self.name = f"{informed.name} or {general.name}"
        self.threshold = max(informed.threshold, general.threshold)
        self.licence = f"{informed.licence}; {general.licence}"

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score for each picture, by the judge that its prompt calls for."""
        found: list[Score] = []
        for picture, prompt in zip(pictures, prompts, strict=True):
            judge = self.general if prompt.metadata is None else self.informed
            found += await judge.score([picture], [prompt], services)
        return found
