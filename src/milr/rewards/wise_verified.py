"""The reward `wise-verified`: the judge of WISE_Verified, which says 0 or 1 (PKU-YuanGroup/WISE eb51174).

For the benchmark WISE_Verified it is an oracle: the search is guided by what the benchmark measures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from milr.rewards.endpoint.question_reward import quoting_score
from milr.rewards.wise import WiseReward
from milr.rules.wise import parse_verdict
from milr.types import Score

NO_THINKING: Mapping[str, Any] = {
    "chat_template_kwargs": {"enable_thinking": False}
}  # of each request, as vLLM reads it


class WiseVerifiedReward(WiseReward):
    """1.0 or 0.0; needs {"explanation": ...} in the prompt's metadata. The judge does not think before it answers."""

    name = "wise-verified"
    threshold = 0.9
    paper_model = "Qwen/Qwen3.5-35B-A3B"

    def parse(self, answer: str) -> Score | None:
        """The verdict, 0 or 1."""
        verdict = parse_verdict(answer)
        return None if verdict is None else quoting_score(float(verdict), answer)
