"""The reward `mixed`: MILR's MixedReward, of a grounding detector, a model that answers questions, and UnifiedReward.

It reads GenEval's clauses (class, count, colour, position) in the prompt's metadata instead of the prompt's words: its
numbers are no evidence about rewards that see the prompt alone. MILR also tried other weights; these are those of its
main program (miyapeng/MILR d7b42fb).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from milr.base import Reward, Services
from milr.rewards.vision.judge_thread import JudgeThread
from milr.rules import mixed
from milr.types import Prompt, Score, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

    from milr.rewards.vision.grounding import FindObjects
    from milr.rewards.vision.vqa import AnswerQuestions


class MixedReward:
    """The weighted mean, in [0, 1], of its parts grounding, questions and unified; unscored where one of them is.

    `find` gives the boxes of named classes, `answer` P(yes) of questions, and `unified` is the reward for the third
    part. Needs GenEval's metadata.
    """

    name = "mixed"
    range = (0.0, 1.0)
    threshold = 0.8
    deviations = (
        "MixedReward reads the benchmark's clauses (class, count, colour, position): its numbers are no evidence about "
        "rewards that see the prompt alone.",
    )

    def __init__(self, find: FindObjects, answer: AnswerQuestions, unified: Reward) -> None:
        self.find, self.answer, self.unified = find, answer, unified
        self.needs = tuple(dict.fromkeys(("metadata", *unified.needs)))
        self.licence = f"Apache-2.0 (GroundingDINO); MIT (GIT); {unified.licence}"
        self._thread = JudgeThread("grounding and questions")

    @classmethod
    def load(cls, unified: Reward, *, device: str = "auto") -> MixedReward:
        """With the pinned checkpoints; MissingError, naming what to fetch, where one is not here."""
        from milr.rewards.vision.grounding import GroundingDino
        from milr.rewards.vision.vqa import GitVQA

        return cls(GroundingDino.load(device=device), GitVQA.load(device=device).yes_probabilities, unified)

    def identity(self) -> dict[str, Any]:
        """What tells two of these judges apart, beside their checkpoints: the identity of UnifiedReward."""
        identity = getattr(self.unified, "identity", dict)
        return {"unified": dict(identity())}

    @staticmethod
    def check(prompt: Prompt) -> None:
        """UsageError unless the prompt's metadata states its clauses."""
        if not _has_clauses(prompt.metadata or {}):
            raise UsageError(
                f"the reward mixed reads the benchmark's clauses about classes, and {prompt.text!r} has none that can "
                "be read; take the prompts of geneval, or another reward."
            )

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score for each picture; UsageError for a prompt without GenEval's clauses. All parts run at once."""
        for prompt in prompts:
            self.check(prompt)
        pairs = list(zip(pictures, prompts, strict=True))
        local = asyncio.gather(*(self._thread.score(self._score_locally, *pair) for pair in pairs))
        local_scores, unified_scores = await asyncio.gather(local, self.unified.score(pictures, prompts, services))
        return [_combine(*row) for row in zip(local_scores, unified_scores, prompts, strict=True)]

    def _score_locally(self, picture: Image, prompt: Prompt) -> Score:
        """The parts grounding and questions, and their plain mean."""
        picture, clauses = picture.convert("RGB"), (prompt.metadata or {})["include"]
        boxes = self.find(picture, [clause["class"] for clause in clauses])
        answers = self.answer(picture, [mixed.question_of(clause) for clause in clauses])
        parts = {"grounding": mixed.grounding_score(clauses, boxes), "questions": mixed.questions_score(answers)}
        return Score(sum(parts.values()) / 2, parts)


def _combine(local: Score, unified: Score, prompt: Prompt) -> Score:
    """The weighted mean of the local parts and UnifiedReward's score; unscored where either is."""
    parts = dict(local.parts)
    if unified.value is not None:
        parts["unified"] = unified.value
    spent: dict[str, Any] = {"calls": max(unified.calls, 1), "seconds": max(local.seconds, unified.seconds)}
    failures = [f"unified: {unified.reason}"] if unified.value is None else []
    failures += [local.reason] if local.value is None else []
    if failures:
        return Score(None, parts, "; ".join(failures), **spent)
    tag = str((prompt.metadata or {}).get("tag", ""))
    return Score(mixed.mixed_score(tag=tag, **parts), parts, unified.reason, **spent)


def _has_clauses(metadata: Mapping[str, Any]) -> bool:
    """Whether there are clauses, each with a class and a count, and any relation is to one of them."""
    try:
        clauses = metadata["include"]
        anchors = [clause.get("position", ("", 0))[1] for clause in clauses]
        complete = all(clause["class"].strip() and int(clause["count"]) > 0 for clause in clauses)
        words = [word for clause in clauses for word in (clause.get("color") or "", clause.get("position", ("", 0))[0])]
    except (TypeError, KeyError, ValueError, AttributeError, IndexError, OverflowError):
        return False
    readable = complete and all(isinstance(word, str) for word in words)
    counted = all(isinstance(anchor, int) and 0 <= anchor < len(clauses) for anchor in anchors)
    return bool(clauses) and readable and counted
