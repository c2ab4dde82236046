"""The self reward in the paper's form: the generating model is asked in words and answers with a JSON verdict.

What departs from MILR: our own wording; a fenced or embedded JSON object is read too; an answer that cannot be read is
unscored, not wrong; and the answer may have 512 tokens instead of 128.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from milr.base import Services
from milr.rewards.endpoint.wording import Wording
from milr.rules.judgements import json_verdict
from milr.types import Prompt, Score

if TYPE_CHECKING:
    from PIL.Image import Image


class SelfVerdict:
    """1.0 or 0.0, as the model that drew the picture says about it; needs no metadata and no other weights."""

    name = "self:json"
    range = (0.0, 1.0)
    threshold = 0.9
    needs: tuple[str, ...] = ()
    licence = "that of the generating model"
    answer_tokens = 512

    def __init__(self, wording: Wording) -> None:
        self.wording = wording

    def identity(self) -> dict[str, Any]:
        """What makes two runs' judges the same, beside the model: the wording's mark."""
        return {"wording": self.wording.mark}

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One verdict for each picture; unscored where the model failed or its answer cannot be read."""
        return [await self._one(*pair, services) for pair in zip(pictures, prompts, strict=True)]

    async def _one(self, picture: Image, prompt: Prompt, services: Services) -> Score:
        start = time.perf_counter()
        try:
            answer = await services.answer(picture, self.wording.fill(prompt=prompt.text), self.answer_tokens)
        except Exception as error:  # a judgement that could not be made is no zero, whatever went wrong
            spent = time.perf_counter() - start
            return Score.unscored(f"the model could not judge: {type(error).__name__}: {error}", seconds=spent)
        value = json_verdict(answer.text)
        if value is None:
            return Score.unscored(f"the model gave no JSON verdict: {answer.text!r}", seconds=answer.seconds)
        return Score(value, reason=f"the model answered {answer.text!r}", seconds=answer.seconds)
