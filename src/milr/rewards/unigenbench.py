"""The reward `unigenbench`: the share of its prompt's test points that a picture passes (arXiv 2510.18701).

For the benchmark UniGenBench++ it is an oracle: the search is guided by what the benchmark measures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from milr.base import Services
from milr.rewards.endpoint.question_reward import QuestionReward
from milr.rules import unigenbench as rules
from milr.rules.judgements import without_reasoning
from milr.types import Prompt, Score, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image


class UniGenBenchReward(QuestionReward):
    """The share in [0, 1] of the test points with mark 1, all of them asked about in one question.

    Needs {"testpoints": [...], "descriptions": [...]} in the prompt's metadata. The parts are the marks, 1 or 0.
    """

    name = "unigenbench"
    threshold = 0.9
    needs: tuple[str, ...] = ("metadata", "judge")
    licence = "that of the judge asked"
    paper_model = "CodeGoat24/UniGenBench-EvalModel-qwen3vl-32b-v1"

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score for each picture, all asked for at once; unscored, with the reason, where the judge failed."""
        asked = [(picture, self.question(prompt), partial(_parse, _test_points(prompt)))
                 for picture, prompt in zip(pictures, prompts, strict=True)]  # fmt: skip
        return await asyncio.gather(*(self.client.judge(*each) for each in asked))

    def question(self, prompt: Prompt) -> str:
        """The question with all test points; UsageError where the prompt has none."""
        points = _test_points(prompt)
        descriptions = (prompt.metadata or {}).get("descriptions")
        if not points or not isinstance(descriptions, list) or len(descriptions) != len(points):
            raise UsageError(f"the reward unigenbench needs UniGenBench++'s test points of {prompt.text[:80]!r} in its "
                             "metadata; take the prompts of the benchmark unigenbench, or another reward.")  # fmt: skip
        pairs = zip(points, descriptions, strict=True)
        lines = (f"{index}. {point}: {about}" for index, (point, about) in enumerate(pairs, 1))
        return self.wording.fill(prompt=prompt.text, testpoints="\n".join(lines))


def _test_points(prompt: Prompt) -> list[str]:
    points = (prompt.metadata or {}).get("testpoints")
    return points if isinstance(points, list) and all(isinstance(point, str) for point in points) else []


def _parse(points: Sequence[str], answer: str) -> Score | None:
    marks = rules.parse_marks(without_reasoning(answer), len(points))
    if marks is None:
        return None
    parts = {
        rules.part_name(index, point): float(mark)
        for index, (point, mark) in enumerate(zip(points, marks, strict=True))
    }
    failed = [point for point, mark in zip(points, marks, strict=True) if not mark]
    reason = f"the judge failed it in {', '.join(failed)}" if failed else "the judge passed all test points"
    return Score(sum(marks) / len(marks), parts, reason)
