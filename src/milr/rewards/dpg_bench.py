"""The reward `dpg-bench`: the share of DPG-Bench's questions answered yes, after their dependencies (arXiv 2403.05135).

For the benchmark DPG-Bench it is an oracle: the search is guided by what the benchmark measures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from milr.base import Services
from milr.rewards.endpoint.question_reward import JudgeClient
from milr.rules import dpg_bench as rules
from milr.rules.judgements import without_reasoning
from milr.templates import YES_OR_NO
from milr.types import Prompt, Score, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image


class DpgBenchReward:
    """The score in [0, 1] of a picture; needs {"questions": [...]} in the prompt's metadata.

    The parts are the answers as they were given, 1 or 0; the score has 0 where a question's parent has 0. Each question
    is a call. A question that the judge does not answer leaves the picture unscored.
    """

    name = "dpg-bench"
    range = (0.0, 1.0)
    threshold = 0.9
    needs: tuple[str, ...] = ("metadata", "judge")
    licence = "Apache-2.0 (Qwen3-VL), or that of the judge asked"
    deviations = (
        "The questions are answered by a vision-language model, told to say yes or no, instead of mPLUG-large, which "
        "transformers does not have: scores are not comparable with published ones.",
    )

    def __init__(self, client: JudgeClient) -> None:
        self.client = client

    def identity(self) -> dict[str, Any]:
        """That of the judge model."""
        return dict(self.client.identity())

    def check(self, prompt: Prompt) -> None:
        """UsageError for a prompt without DPG-Bench's questions."""
        self._questions(prompt)

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score for each picture; all questions are asked at once."""
        questions = [self._questions(prompt) for prompt in prompts]
        return await asyncio.gather(*(self._score(*pair) for pair in zip(pictures, questions, strict=True)))

    def _questions(self, prompt: Prompt) -> list[rules.Question]:
        try:
            return rules.questions_of(prompt.metadata or {})
        except (KeyError, TypeError, ValueError):
            raise UsageError(f"the reward dpg-bench needs DPG-Bench's questions about {prompt.text[:80]!r} in its "
                             "metadata; take the prompts of the benchmark dpg-bench, or another reward.") from None  # fmt: skip  # noqa: E501

    async def _score(self, picture: Image, questions: Sequence[rules.Question]) -> Score:
        asked = [YES_OR_NO.replace("{question}", question.text) for question in questions]
        answers = await asyncio.gather(*(self.client.judge(picture, each, _parse) for each in asked))
        calls, seconds = sum(answer.calls for answer in answers), sum(answer.seconds for answer in answers)
        if failed := [answer.reason for answer in answers if answer.value is None]:
            return Score.unscored(failed[0], calls=calls, seconds=seconds)
        values = [answer.value or 0.0 for answer in answers]
        no = [repr(question.text) for question, value in zip(questions, values, strict=True) if not value]
        reason = f"the judge said no to {', '.join(no)}" if no else "the judge said yes to all questions"
        parts = {question.part: value for question, value in zip(questions, values, strict=True)}
        return Score(rules.picture_score(questions, values), parts, reason, calls, seconds)


def _parse(answer: str) -> Score | None:
    value = rules.parse_yes_no(without_reasoning(answer))
    return None if value is None else Score(value)
