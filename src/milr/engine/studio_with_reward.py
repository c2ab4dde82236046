"""One studio shared by searches with different rewards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from milr.base import Reward
from milr.engine.studio import Studio
from milr.types import Prompt, Score

if TYPE_CHECKING:
    from PIL.Image import Image


class StudioWithReward:
    """A studio that judges by another `reward`; everything else is the given studio's."""

    def __init__(self, studio: Studio, reward: Reward) -> None:
        self._studio, self.reward = studio, reward

    def __getattr__(self, name: str) -> Any:
        return getattr(self._studio, name)

    async def score(self, picture: Image, prompt: Prompt, reward: Reward | None = None) -> Score:
        """Judge a picture by this studio's reward, or by `reward`."""
        return await self._studio.score(picture, prompt, reward or self.reward)
