"""The reward `pickscore`: PickScore, a CLIP trained on people's choices between pictures (arXiv 2305.01569)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from milr.rewards.vision.clip import ClipEncoder
from milr.rewards.vision.local_reward import LocalReward
from milr.rewards.vision.pinned import PICKSCORE, PICKSCORE_INPUTS
from milr.types import Prompt, Score

if TYPE_CHECKING:
    from PIL.Image import Image

REFERENCE_SCORE = 21.0  # the raw PickScore of an ordinary picture


class PickScoreReward(LocalReward):
    """sigmoid(raw - 21) in [0, 1], where raw = logit scale x cosine is PickScore itself, about 15 to 25.

    PickScore was trained so that the softmax of the raw scores of two pictures of one prompt is the probability that
    people prefer each of them (Kirstain et al. 2023). So this is the probability that they would prefer this picture
    to one with a raw score of 21. It rises strictly with raw and therefore ranks pictures as PickScore does. Both 21
    and the threshold 0.9 (raw 23.2) are guesses that nobody has calibrated, and raw scores of different prompts are
    not comparable. Texts of more than 77 tokens are truncated, as its authors do.
    """

    name = "pickscore"
    threshold = 0.9
    licence = "not stated (its hub page names none)"

    def __init__(self, encoder: ClipEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    @classmethod
    def load(cls, name: str = PICKSCORE, inputs: str = PICKSCORE_INPUTS, *, device: str = "auto") -> PickScoreReward:
        """Load weights and inputs from folders or hub repositories; MissingError, naming what to fetch, if absent."""
        return cls(ClipEncoder.load(name, inputs=inputs, device=device))

    def raw_score(self, picture: Image, text: str) -> float:
        """PickScore itself: the learned logit scale times the cosine."""
        text_embedding = self.encoder.embed_texts([text], truncate=True)[0]
        return self.encoder.logit_scale * float(text_embedding @ self.encoder.embed_picture(picture))

    def judge(self, picture: Image, prompt: Prompt) -> Score:
        """sigmoid(raw - 21)."""
        raw = self.raw_score(picture, prompt.text)
        reason = f"PickScore {raw:.3f}"
        if (length := self.encoder.num_tokens(prompt.text)) > self.encoder.max_tokens:
            reason += f"; of the prompt's {length} tokens it read the first {self.encoder.max_tokens}"
        return Score(1 / (1 + math.exp(REFERENCE_SCORE - raw)), reason=reason)
