"""The reward `unified`: UnifiedReward's 1 to 5 (CodeGoat24/UnifiedReward ff6f520), from an endpoint or the model here.

The model was trained on one fixed wording, which is not ours: with our own wording it answers something it was not
trained for, and the numbers are not the published ones. `--judge-template` takes the original.
"""

from __future__ import annotations

from milr.rewards.endpoint.question_reward import AskedReward, told
from milr.rewards.vision.pinned import UNIFIED
from milr.rules.judgements import final_score
from milr.types import Score


class UnifiedReward(AskedReward):
    """(value - 1) / 4 of the judge's 1 to 5; needs no metadata."""

    name = "unified"
    threshold = 0.75  # the paper stops when the judge says more than 4
    licence = "MIT (UnifiedReward's weights)"
    paper_model = UNIFIED

    def read(self, answer: str) -> Score | None:
        """The line "Final Score:"."""
        return told(final_score(answer), answer)
