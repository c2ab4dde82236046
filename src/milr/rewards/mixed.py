"""The reward `mixed`: MILR's MixedReward, of a grounding detector, a model that answers questions, and UnifiedReward.

It reads the benchmark's metadata, so it is told what is asked for in GenEval's own terms (class, count, colour,
position) and not by the prompt's words: its numbers are no evidence about rewards that see the prompt alone. MILR also
tried other weights; these are those of its main program (d7b42fb).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from milr.base import Reward, Services
from milr.rewards.vision.judge_thread import Worker
from milr.rules import mixed
from milr.rules.grounding import Grounded
from milr.types import Prompt, Score, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

Ground = Callable[["Image", Sequence[str]], Mapping[str, Sequence[Grounded]]]
Answer = Callable[["Image", Sequence[str]], Sequence[float]]  # questions to P(yes)


class MixedReward:
    """The weighted mean of its parts grounding, questions and unified; unscored where one of them is.

    `ground` finds places of named classes, `answer` gives P(yes) of questions, `unified` is the judge of the rest.
    """

    name = "mixed"
    range = (0.0, 1.0)
    threshold = 0.8
    deviations = (
        "MixedReward reads the benchmark's clauses (class, count, colour, position): its numbers are no evidence about "
        "rewards that see the prompt alone.",
    )

    def __init__(self, ground: Ground, answer: Answer, unified: Reward) -> None:
        self.ground, self.answer, self.unified = ground, answer, unified
        self.needs = tuple(dict.fromkeys(("metadata", *unified.needs)))
        self.licence = f"Apache-2.0 (GroundingDINO); MIT (GIT); {unified.licence}"
        self._worker = Worker("grounding and questions")

    @classmethod
    def load(cls, unified: Reward, *, device: str = "auto") -> MixedReward:
        """With the pinned checkpoints; MissingError, naming what to fetch, where one is not here."""
        from milr.rewards.vision.grounding import Grounding
        from milr.rewards.vision.vqa import GitVQA

        return cls(Grounding.load(device=device), GitVQA.load(device=device).answers, unified)

    def identity(self) -> dict[str, Any]:
        """What makes two of these judges the same, beside their checkpoints: what UnifiedReward says of itself."""
        own = getattr(self.unified, "identity", dict)
        return {"unified": dict(own())}

    @staticmethod
    def check(prompt: Prompt) -> None:
        """UsageError unless the prompt's metadata states its clauses."""
        if not _readable(prompt.metadata or {}):
            raise UsageError(
                f"the reward mixed reads the benchmark's clauses about classes, and {prompt.text!r} has none that can "
                "be read; take the prompts of geneval, or another reward."
            )

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score for each picture; a prompt without GenEval's clauses is a usage error. All parts run at once."""
        for prompt in prompts:
            self.check(prompt)
        pairs = list(zip(pictures, prompts, strict=True))
        seeing = asyncio.gather(*(self._worker.score(self._see, *pair) for pair in pairs))
        seen, unified = await asyncio.gather(seeing, self.unified.score(pictures, prompts, services))
        return [_mixed(*row) for row in zip(seen, unified, prompts, strict=True)]

    def _see(self, picture: Image, prompt: Prompt) -> Score:
        """The two parts that are judged here, and their plain mean."""
        picture, clauses = picture.convert("RGB"), (prompt.metadata or {})["include"]
        findings = self.ground(picture, [clause["class"] for clause in clauses])
        answers = self.answer(picture, [mixed.question_of(clause) for clause in clauses])
        parts = {"grounding": mixed.grounding_score(clauses, findings), "questions": mixed.questions_score(answers)}
        return Score(sum(parts.values()) / 2, parts)


def _mixed(seen: Score, unified: Score, prompt: Prompt) -> Score:
    parts = dict(seen.parts)
    if unified.value is not None:
        parts["unified"] = unified.value
    spent: dict[str, Any] = {"calls": max(unified.calls, 1), "seconds": max(seen.seconds, unified.seconds)}
    lost = [f"unified: {unified.reason}"] if unified.value is None else []
    lost += [seen.reason] if seen.value is None else []
    if lost:
        return Score(None, parts, "; ".join(lost), **spent)
    tag = str((prompt.metadata or {}).get("tag", ""))
    return Score(mixed.mixed_score(tag=tag, **parts), parts, unified.reason, **spent)


def _readable(metadata: Mapping[str, Any]) -> bool:
    """Whether there are clauses, each with a class, a number, and a relation to nothing but another of them."""
    try:
        clauses = metadata["include"]
        places = [clause.get("position", ("", 0))[1] for clause in clauses]
        named = all(clause["class"].strip() and int(clause["count"]) > 0 for clause in clauses)
    except (TypeError, KeyError, ValueError, AttributeError, IndexError):
        return False
    return bool(clauses) and named and all(place in range(len(clauses)) for place in places)
