"""The reward `judge`: a strict judge answers 0 (right) or -1, as GPT-4o does in the paper's Tables 6 and 7."""

from __future__ import annotations

from milr.rewards.endpoint.question_reward import QuestionReward, quoting_score
from milr.rules.judgements import zero_or_minus_one
from milr.types import Score


class JudgeReward(QuestionReward):
    """1.0 or 0.0 from any vision-language model behind an endpoint; needs no metadata."""

    name = "judge"
    threshold = 0.9
    licence = "that of the judge asked"
    paper_model = "gpt-4o-2024-11-20"

    def parse(self, answer: str) -> Score | None:
        """The first 0 or -1 that stands alone."""
        return quoting_score(zero_or_minus_one(answer), answer)
