"""The reward `clip`: CLIPScore, the cosine of picture and prompt, T2I-CompBench's score of non-spatial prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from milr.rewards.vision.clip import ClipScore
from milr.rewards.vision.local_reward import LocalReward
from milr.rewards.vision.pinned import CLIP_B32
from milr.types import Prompt, Score, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image


class ClipReward(LocalReward):
    """The cosine as the score in [0, 1], with negative cosines as 0; needs no metadata.

    The threshold is MILR's for non-spatial prompts, tau -0.65 on cosine - 1; few pictures reach a cosine of 0.35.
    """

    name = "clip"
    threshold = 0.35
    licence = "MIT"

    def __init__(self, clip_score: ClipScore) -> None:
        super().__init__()
        self.clip_score = clip_score

    @classmethod
    def load(cls, name: str = CLIP_B32, *, device: str = "auto") -> ClipReward:
        """Load the weights of a folder or hub repository; MissingError, naming what to fetch, where they are absent."""
        return cls(ClipScore.load(name, device=device))

    def check(self, prompt: Prompt) -> None:
        """UsageError for a prompt of more tokens than CLIP reads."""
        encoder = self.clip_score.encoder
        if (length := encoder.num_tokens(prompt.text)) > encoder.max_tokens:
            raise UsageError(f"the reward clip reads {encoder.max_tokens} tokens, and the prompt {prompt.text[:60]!r} "
                             f"has {length}: shorten it, or choose another reward.")  # fmt: skip

    def judge(self, picture: Image, prompt: Prompt) -> Score:
        """The cosine; JudgeError for a text of more than 77 tokens."""
        cosine = self.clip_score(picture, prompt.text)
        return Score(min(max(cosine, 0.0), 1.0), reason=f"cosine {cosine:.4f}")
