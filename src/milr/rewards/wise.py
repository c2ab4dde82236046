"""The reward `wise`: WISE's judge and its WiScore (PKU-YuanGroup/WISE eb51174).

For the benchmark WISE it is an oracle: the search is guided by what the benchmark measures.
"""

from __future__ import annotations

from milr.rewards.endpoint.question_reward import QuestionReward, quoting_score
from milr.rules.wise import parse_marks
from milr.types import Prompt, Score, UsageError


class WiseReward(QuestionReward):
    """WiScore in [0, 1], its three marks as parts; needs {"explanation": ...} in the prompt's metadata.

    The official tool reads any digit; a mark above 2 would leave [0, 1], so here such an answer is not readable.
    """

    name = "wise"
    threshold = 0.5  # strictly above: marks of 1, 1, 1 go on, 1, 1, 2 stop
    needs: tuple[str, ...] = ("metadata", "judge")
    licence = "that of the judge asked"
    paper_model = "gpt-4o-2024-05-13"

    def question(self, prompt: Prompt) -> str:
        """The question with the prompt's explanation in it; UsageError where the prompt has none."""
        explanation = (prompt.metadata or {}).get("explanation")
        if not isinstance(explanation, str) or not explanation:
            raise UsageError(
                f"the reward {self.name} needs WISE's explanation of the prompt {prompt.text!r} in its metadata; "
                f"take the prompts of the benchmark {self.name}, or another reward."
            )
        return self.wording.fill(prompt=prompt.text, explanation=explanation)

    def parse(self, answer: str) -> Score | None:
        """WiScore of the three marks."""
        marks = parse_marks(answer)
        if marks is None or not marks.in_range:
            return None
        parts = {"consistency": marks.consistency / 2, "realism": marks.realism / 2, "aesthetic": marks.aesthetic / 2}
        return quoting_score(marks.wiscore, answer, **parts)
