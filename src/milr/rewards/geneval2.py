"""The reward `geneval2`: GenEval 2's Soft-TIFA (arXiv 2512.16853), its geometric mean over the prompt's questions.

For the benchmark GenEval 2 it is an oracle: the search is guided by what the benchmark measures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from milr.base import Services
from milr.rewards.first_token import GREEDY, FirstTokenJudge
from milr.rules import geneval2 as rules
from milr.types import Prompt, Score, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image


class GenEval2Reward:
    """Soft-TIFA GM in [0, 1]; needs {"vqa_list": [[question, answer], ...]} in the prompt's metadata.

    The parts are the soft score of each question, their mean (AM), the share of the questions that the judge's
    likeliest token answers right (TIFA), and VQAScore, which is one question more. Each question is a call. A question
    that the judge cannot answer leaves the picture unscored.
    """

    name = "geneval2"
    range = (0.0, 1.0)
    threshold = 0.9
    needs: tuple[str, ...] = ("metadata", "judge")
    licence = "Apache-2.0 (Qwen3-VL), or that of the judge asked"

    def __init__(self, judge: FirstTokenJudge) -> None:
        self.judge = judge
        self.deviations = judge.deviations

    def identity(self) -> dict[str, Any]:
        """That of the judge model."""
        return dict(self.judge.identity())

    def check(self, prompt: Prompt) -> None:
        """UsageError for a prompt without questions that GenEval 2 could ask."""
        self._questions(prompt)

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score for each picture; all questions are asked at once."""
        questions = [self._questions(prompt) for prompt in prompts]
        jobs = zip(pictures, prompts, questions, strict=True)
        return await asyncio.gather(*(self._score(*job) for job in jobs))

    def _questions(self, prompt: Prompt) -> list[tuple[str, tuple[str, ...]]]:
        """Each question with the variants of its answer."""
        try:
            asked = (prompt.metadata or {})["vqa_list"]
            questions = [(question, rules.variants(question, answer)) for question, answer in asked]
        except (KeyError, TypeError, ValueError):
            questions = []
        if not questions:
            raise UsageError(f"the reward geneval2 needs GenEval 2's questions about {prompt.text!r} in its metadata; "
                             "take the prompts of the benchmark geneval2, or another reward.")  # fmt: skip
        return questions

    async def _score(self, picture: Image, prompt: Prompt, questions: Sequence[tuple[str, tuple[str, ...]]]) -> Score:
        asked = [(rules.ask(question), variants) for question, variants in questions]
        asked.append((rules.vqascore_question(prompt.text), rules.YES))
        answers = await asyncio.gather(*(self.judge.first_token(picture, *each) for each in asked))
        calls, seconds = sum(answer.calls for answer in answers), sum(answer.seconds for answer in answers)
        failed = [answer.reason for answer in answers if answer.value is None]
        if failed:
            return Score.unscored(failed[0], calls=calls, seconds=seconds)
        soft = [answer.value or 0.0 for answer in answers]
        names = [question for question, _ in questions]
        parts = {rules.part_name(index, name): soft[index] for index, name in enumerate(names)}
        greedy = [answer.parts[GREEDY] for answer in answers[:-1]]
        parts |= {rules.AM: rules.arithmetic(soft[:-1]), rules.TIFA: rules.arithmetic(greedy),
                  rules.VQASCORE: soft[-1]}  # fmt: skip
        wrong = [repr(name) for name, right in zip(names, greedy, strict=True) if not right]
        reason = f"the judge's answer is wrong to {', '.join(wrong)}" if wrong else "the judge's answers are all right"
        return Score(rules.geometric(soft[:-1]), parts, reason, calls, seconds)
