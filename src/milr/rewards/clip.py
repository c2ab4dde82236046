"""How well a picture goes with its prompt, by CLIP: CLIPScore (T2I-CompBench, non-spatial) and PickScore."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from milr.base import Services
from milr.rewards.vision.clip import ClipEncoder
from milr.rewards.vision.judge_thread import Worker
from milr.rewards.vision.pinned import CLIP_B32, PICKSCORE, PICKSCORE_INPUTS
from milr.types import Prompt, Score

if TYPE_CHECKING:
    from PIL.Image import Image

ORDINARY = 21.0  # the raw PickScore that stands for an ordinary picture


class ClipScore:
    """The plain cosine of picture and text, about 0.2 to 0.35: no factor, no clipping, no truncation.

    A text that CLIP cannot read to its end (over 77 tokens) is a JudgeError.
    """

    def __init__(self, clip: ClipEncoder) -> None:
        self.clip = clip

    @classmethod
    def load(cls, name: str = CLIP_B32, *, device: str = "auto") -> ClipScore:
        """From a folder or hub repository; MissingError where the weights are not here."""
        return cls(ClipEncoder.load(name, device=device))

    def __call__(self, picture: Image, text: str) -> float:
        """The cosine in [-1, 1]."""
        return float(self.clip.texts([text])[0] @ self.clip.picture(picture))


class _Similarity:
    """What both rewards share: one picture after the other, off the event loop; a failure leaves it unscored."""

    name = ""
    range = (0.0, 1.0)
    threshold = 0.0
    needs: tuple[str, ...] = ()
    licence = ""

    def __init__(self) -> None:
        self._worker = Worker(self.name)

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score for each picture; unscored, with the reason, where the text is too long or the model fails."""
        return [await self._worker.score(self._judge, *pair) for pair in zip(pictures, prompts, strict=True)]

    def _judge(self, picture: Image, prompt: Prompt) -> Score:
        raise NotImplementedError


class ClipReward(_Similarity):
    """CLIPScore as a reward: the cosine itself, where negative ones count as 0.

    The threshold is MILR's for non-spatial prompts, tau -0.65 on cosine - 1; few pictures reach a cosine of 0.35.
    """

    name = "clip"
    threshold = 0.35
    licence = "MIT"

    def __init__(self, cosine: ClipScore) -> None:
        super().__init__()
        self.cosine = cosine

    @classmethod
    def load(cls, name: str = CLIP_B32, *, device: str = "auto") -> ClipReward:
        """From a folder or hub repository; MissingError, naming what to fetch, where it is not here."""
        return cls(ClipScore.load(name, device=device))

    def _judge(self, picture: Image, prompt: Prompt) -> Score:
        cosine = self.cosine(picture, prompt.text)
        return Score(min(max(cosine, 0.0), 1.0), reason=f"cosine {cosine:.4f}")


class PickScoreReward(_Similarity):
    """PickScore (Kirstain et al. 2023) as a reward: sigmoid(raw - 21), where raw = scale x cosine, about 15 to 25.

    PickScore was trained so that softmax(raw) of two pictures of one prompt is the chance that people prefer each;
    so this is the chance that they would prefer this picture to one of raw score 21. It rises strictly with raw, and
    ranks pictures as PickScore does. Both 21 and the threshold 0.9 (raw 23.2) are guesses that nobody has calibrated,
    and raw scores of different prompts are not comparable. Texts over 77 tokens are truncated, as its authors do.
    """

    name = "pickscore"
    threshold = 0.9
    licence = "not stated (its hub page names none)"

    def __init__(self, clip: ClipEncoder) -> None:
        super().__init__()
        self.clip = clip

    @classmethod
    def load(cls, name: str = PICKSCORE, inputs: str = PICKSCORE_INPUTS, *, device: str = "auto") -> PickScoreReward:
        """Weights and inputs from a folder or hub repository; MissingError, naming what to fetch, if not here."""
        return cls(ClipEncoder.load(name, inputs=inputs, device=device))

    def raw(self, picture: Image, text: str) -> float:
        """PickScore's own number."""
        cosine = float(self.clip.texts([text], truncate=True)[0] @ self.clip.picture(picture))
        return self.clip.scale * cosine

    def _judge(self, picture: Image, prompt: Prompt) -> Score:
        raw = self.raw(picture, prompt.text)
        return Score(1 / (1 + math.exp(ORDINARY - raw)), reason=f"PickScore {raw:.3f}")
