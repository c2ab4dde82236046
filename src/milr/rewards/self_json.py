"""The reward `self:json`: the self reward in the paper's form, a JSON verdict of the generating model.

Where this departs from MILR: the wording is our own; a JSON object in a code fence or within prose is read too; an
answer that cannot be read, or was cut off, is unscored, not wrong; and the answer may have 512 tokens instead of 128.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from milr.base import Services
from milr.rewards.endpoint.wording import Wording
from milr.rewards.self import score_answer
from milr.rules.judgements import json_verdict
from milr.types import Answer, Prompt, Score

if TYPE_CHECKING:
    from PIL.Image import Image


class SelfJsonReward:
    """1.0 or 0.0, as the model that drew the picture says in words; needs no metadata and no other weights."""

    name = "self:json"
    range = (0.0, 1.0)
    threshold = 0.9
    needs: tuple[str, ...] = ()
    licence = "that of the generating model"
    max_answer_tokens = 512

    def __init__(self, wording: Wording) -> None:
        self.wording = wording

    def identity(self) -> dict[str, Any]:
        """What tells two of these judges apart, beside their model: the hash of the wording."""
        return {"wording": self.wording.sha256}

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One verdict for each picture; unscored where the model failed or its answer cannot be read."""
        pairs = zip(pictures, prompts, strict=True)
        return [await score_answer(self._ask(services, *pair), _parse) for pair in pairs]

    async def _ask(self, services: Services, picture: Image, prompt: Prompt) -> Answer:
        return await services.answer(picture, self.wording.fill(prompt=prompt.text), self.max_answer_tokens)


def _parse(answer: Answer) -> Score:
    if not answer.complete:
        return Score.unscored(f"the model's answer was cut off at its limit of tokens: {answer.text!r}")
    value = json_verdict(answer.text)
    if value is None:
        return Score.unscored(f"the model gave no JSON verdict: {answer.text!r}")
    return Score(value, reason=f"the model answered {answer.text!r}")
