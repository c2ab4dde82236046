"""The benchmark `shapes`: nano's prompts in the committed splits, judged by GenEval's rules."""

from __future__ import annotations

from milr.shapes.splits import SPLIT_NAMES, prompts
from milr.types import Prompt, UsageError


class Shapes:
    """The prompts of one `split`: test (328 prompts), development (140), or a hard one.

    The hard splits are hard (300), hard-second (300 others) and hard-development (120). They hold kinds of prompts for
    which nano is hardly trained, about the pairs of shapes of the test and of the development split. UsageError for
    another split.
    """

    name = "shapes"
    metric = "detector"
    layout = "geneval"

    def __init__(self, split: str = "test") -> None:
        if split not in SPLIT_NAMES:
            raise UsageError(f"the shapes benchmark has no split {split!r}; there are {', '.join(SPLIT_NAMES)}.")
        self.split = split

    def prompts(self) -> list[Prompt]:
        """The split's prompts, with ids, categories and metadata."""
        return prompts(self.split)
