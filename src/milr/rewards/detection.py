"""The embedded world's detector as a reward: GenEval's verdict on the prompt's clauses, graded for binding prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from milr.base import Services
from milr.shapes.judge import judge
from milr.types import Prompt, Score, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image


class ShapesDetector:
    """Judges 64 x 64 pictures of prompts that the shapes grammar can read; deterministic, no weights."""

    name = "detector"
    range = (0.0, 1.0)
    threshold = 0.9
    needs: tuple[str, ...] = ("metadata",)
    licence = "Apache-2.0 (no weights)"

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score for each picture; a prompt without metadata is a usage error."""
        return [self._one(picture, prompt) for picture, prompt in zip(pictures, prompts, strict=True)]

    def _one(self, picture: Image, prompt: Prompt) -> Score:
        if prompt.metadata is None:
            raise UsageError(
                f"the detector judges only prompts of the shapes grammar, and cannot read {prompt.text!r}; "
                "--reward self judges any prompt."
            )
        return judge(picture, prompt.metadata)
