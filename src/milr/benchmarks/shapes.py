"""The embedded world's benchmark: the committed split of nano's prompts, under GenEval's rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from milr.shapes.splits import SPLITS, prompts
from milr.types import Prompt, UsageError


class Shapes:
    """`split` is "test" (328 prompts) or "development" (140); the overall score is the mean of the category means."""

    name = "shapes"
    samples = 1
    metric = "detector"
    layout = "geneval"

    def __init__(self, split: str = "test") -> None:
        if split not in SPLITS:
            raise UsageError(f"the shapes benchmark has no split {split!r}; there are {' and '.join(SPLITS)}.")
        self.split = split

    def prompts(self) -> list[Prompt]:
        """The split's prompts, with ids, categories and metadata."""
        return prompts(self.split)

    def aggregate(self, scores: Mapping[str, Sequence[float]]) -> float:
        """Plain mean of the category means, as GenEval's overall."""
        return float(np.mean([np.mean(values) for values in scores.values() if len(values)]))
