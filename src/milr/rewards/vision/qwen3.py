"""A Qwen3-VL (arXiv 2511.21631) on this machine, of which the first token of an answer is read: GenEval 2's judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from milr.rewards.vision.image_text import first_probabilities, first_token_score
from milr.rewards.vision.qwen import USER_TURN, LocalQwen
from milr.types import Score

if TYPE_CHECKING:
    from PIL.Image import Image


class LocalQwen3(LocalQwen):
    """A `FirstTokenJudge`, and a `JudgeClient` as Qwen2.5-VL is one; its turn has no system line."""

    chat_template = USER_TURN
    network_class = "Qwen3VLForConditionalGeneration"
    deviations: tuple[str, ...] = ()

    async def first_token(self, picture: Image, question: str, variants: Sequence[str]) -> Score:
        """The probability in [0, 1] that the answer begins as one of `variants`, with the part GREEDY."""
        return await self._thread.score(self._first_token, picture, question, variants)

    def _first_token(self, picture: Image, question: str, variants: Sequence[str]) -> Score:
        return first_token_score(self.probabilities(picture, question), self.tokenizer, variants)

    @torch.inference_mode()
    def probabilities(self, picture: Image, question: str) -> torch.Tensor:
        """The probability of each token (V,) to be the first of the answer, in float32 on the CPU."""
        return first_probabilities(self.network(**self.inputs(picture, question), logits_to_keep=1).logits)
