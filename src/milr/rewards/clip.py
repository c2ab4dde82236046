"""The reward `clip`: CLIPScore, the cosine of picture and prompt, T2I-CompBench's score of non-spatial prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from milr.base import Services
from milr.rewards.vision.clip import ClipScore
from milr.rewards.vision.judge_thread import JudgeThread
from milr.rewards.vision.pinned import CLIP_B32
from milr.types import Prompt, Score

if TYPE_CHECKING:
    from PIL.Image import Image


class ClipReward:
    """The cosine as the score in [0, 1], with negative cosines as 0; needs no metadata.

    The threshold is MILR's for non-spatial prompts, tau -0.65 on cosine - 1; few pictures reach a cosine of 0.35.
    """

    name = "clip"
    range = (0.0, 1.0)
    threshold = 0.35
    needs: tuple[str, ...] = ()
    licence = "MIT"

    def __init__(self, clip_score: ClipScore) -> None:
        self.clip_score = clip_score
        self._thread = JudgeThread(self.name)

    @classmethod
    def load(cls, name: str = CLIP_B32, *, device: str = "auto") -> ClipReward:
        """Load the weights of a folder or hub repository; MissingError, naming what to fetch, where they are absent."""
        return cls(ClipScore.load(name, device=device))

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score for each picture; unscored, with the reason, where the text is too long or the network fails."""
        return await self._thread.score_all(self._score, pictures, prompts)

    def _score(self, picture: Image, prompt: Prompt) -> Score:
        cosine = self.clip_score(picture, prompt.text)
        return Score(min(max(cosine, 0.0), 1.0), reason=f"cosine {cosine:.4f}")
