"""The embedded world's judges as rewards: GenEval's verdict on the prompt's clauses, graded for binding prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from milr.base import Services
from milr.types import Prompt, Score, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image


class ShapesJudge:
    """Judges 64 x 64 pictures of prompts that the shapes grammar can read; deterministic."""

    range = (0.0, 1.0)
    threshold = 0.9
    needs: tuple[str, ...] = ("shapes",)
    licence = "Apache-2.0"

    def __init__(self, name: str, judge: Callable[[Image, Mapping[str, Any]], Score]) -> None:
        self.name, self.judge = name, judge

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score for each picture; a prompt without metadata is a usage error."""
        return [self._one(picture, prompt) for picture, prompt in zip(pictures, prompts, strict=True)]

    def _one(self, picture: Image, prompt: Prompt) -> Score:
        if prompt.metadata is None:
            raise UsageError(
                f"the reward {self.name} judges only prompts of the shapes grammar, and cannot read {prompt.text!r}; "
                "--reward self judges any prompt."
            )
        return self.judge(picture, prompt.metadata)


def shapes_detector() -> ShapesJudge:
    """The classical detector; it has no weights."""
    from milr.shapes.judge import judge

    return ShapesJudge("detector", judge)


def held_out_judge() -> ShapesJudge:
    """The small network that was trained on renderings nano never saw."""
    from milr.shapes.held_out import judge

    return ShapesJudge("held-out", judge)
