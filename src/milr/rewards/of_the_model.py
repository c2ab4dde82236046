"""What rewards have in common that ask the generating model about its own picture."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from milr.base import Services
from milr.rules.calibration import Calibration
from milr.types import Prompt, Score

if TYPE_CHECKING:
    from PIL.Image import Image


def identity_of(calibration: Calibration | None) -> list[float | str]:
    """A calibration's numbers; empty where there is none."""
    return calibration.identity() if calibration else []


class RewardOfTheModel(ABC):
    """Needs no metadata and no other weights; a subclass judges one picture by `score_picture`."""

    name: str
    range = (0.0, 1.0)
    threshold = 0.9
    needs: tuple[str, ...] = ()
    licence = "that of the generating model"

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score for each picture; all of them are asked about at once."""
        pairs = zip(pictures, prompts, strict=True)
        return list(await asyncio.gather(*(self.score_picture(services, *pair) for pair in pairs)))

    @abstractmethod
    async def score_picture(self, services: Services, picture: Image, prompt: Prompt) -> Score:
        """The score of one picture."""
