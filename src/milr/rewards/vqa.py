"""The reward `vqa`: VQAScore (Lin et al., arXiv 2404.01291), a vision-language model's P(yes) to one question.

Here the question is GenEval 2's (`rules.geneval2.vqascore_question`), and the judge any vision-language model: one on
this machine that transformers has a class for, or one behind an endpoint that gives log-probabilities. VQAScore's own
numbers are those of CLIP-FlanT5, which transformers has no class for, so they are not comparable with these.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from milr.base import Services
from milr.rewards.first_token import FirstTokenJudge
from milr.rules.geneval2 import YES, vqascore_question
from milr.types import Prompt, Score

if TYPE_CHECKING:
    from PIL.Image import Image


class VqaReward:
    """P(yes) in [0, 1] of the first token of the judge's answer, whether the picture shows the prompt.

    It is the sum over the spellings of yes. A judge that cannot answer leaves the picture unscored.
    """

    name = "vqa"
    range = (0.0, 1.0)
    threshold = 0.9
    needs: tuple[str, ...] = ("judge",)
    licence = "Apache-2.0 (Qwen3-VL), or that of the judge asked"

    def __init__(self, judge: FirstTokenJudge) -> None:
        self.judge = judge
        self.deviations = judge.deviations

    def identity(self) -> dict[str, Any]:
        """What tells two of these rewards apart: the judge model."""
        return {**self.judge.identity()}

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score for each picture; all are asked about at once."""
        return await asyncio.gather(
            *(self.judge.first_token(picture, vqascore_question(prompt.text), YES)
              for picture, prompt in zip(pictures, prompts, strict=True))
        )  # fmt: skip
