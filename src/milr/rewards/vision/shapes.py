"""What the two judges of the embedded world share: GenEval's verdict on the clauses of a shapes prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from milr.base import Services
from milr.shapes.clauses import problem_of
from milr.types import Prompt, Score, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image


class ShapesReward:
    """Judges 64 x 64 RGB pictures of prompts that the shapes grammar can read; deterministic.

    The score is 1.0 or 0.0 by GenEval's rules, with partial credit for attribute binding; its `parts` are the facts
    that the prompt states ("star color"). `judge` makes it of a picture and the prompt's metadata.
    """

    name: str
    range = (0.0, 1.0)
    threshold = 0.9
    needs: tuple[str, ...] = ("shapes",)
    licence = "Apache-2.0"

    def __init__(self, judge: Callable[[Image, Mapping[str, Any]], Score]) -> None:
        self.judge = judge

    def check(self, prompt: Prompt) -> None:
        """UsageError, with the reason, for a prompt whose metadata the judges of this world cannot judge."""
        if prompt.metadata is None:
            raise UsageError(
                f"the reward {self.name} judges only prompts of the shapes grammar, and cannot read {prompt.text!r}; "
                "--reward self judges any prompt."
            )
        if problem := problem_of(prompt.metadata):
            raise UsageError(f"the metadata of {prompt.text!r} {problem}: mend it, leave it out where the shapes "
                             f"grammar reads the prompt, or take another reward than {self.name}.")  # fmt: skip

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score for each picture; UsageError for a prompt without metadata that can be judged."""
        for prompt in prompts:
            self.check(prompt)
        return [self.judge(picture, prompt.metadata or {}) for picture, prompt in zip(pictures, prompts, strict=True)]
