"""The reward `unified`: UnifiedReward's 1 to 5 (CodeGoat24/UnifiedReward ff6f520), from an endpoint or this machine.

The model was trained on one fixed wording, which is not ours: asked in our own wording it does something that it was
not trained for, and the numbers are not the published ones. `--judge-template` takes the original.
"""

from __future__ import annotations

from milr.rewards.endpoint.question_reward import QuestionReward, quoting_score
from milr.rewards.vision.pinned import UNIFIED
from milr.rules.judgements import final_score
from milr.types import Score


class UnifiedReward(QuestionReward):
    """(value - 1) / 4 of the judge's 1 to 5, in [0, 1]; needs no metadata (Wang et al. 2025, arXiv 2503.05236)."""

    name = "unified"
    threshold = 0.75  # the paper stops when the judge says more than 4
    licence = "MIT (UnifiedReward's weights)"
    paper_model = UNIFIED

    def parse(self, answer: str) -> Score | None:
        """The number on the line "Final Score:"."""
        return quoting_score(final_score(answer), answer)
