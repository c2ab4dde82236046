"""A file of one's own prompts as a benchmark, judged by a reward that the user names."""

from __future__ import annotations

from pathlib import Path

from milr.types import Prompt, UsageError
from milr.workflows.prompts import read_prompts

LIST = "list"  # what stands as the benchmark of prompts, or of pictures, from a file


class PromptList:
    """The prompts in `file`, each once, with the category of their row where it has one; `metric` judges.

    The file is read as `read_prompts` reads it. UsageError where no judge is named.
    """

    name = LIST
    layout = ""

    def __init__(self, file: Path, metric: str | None) -> None:
        if not metric:
            raise UsageError("a list of prompts has no judge of its own: name one with --reward, or --metric.")
        self.file, self.metric = file, metric

    def prompts(self) -> list[Prompt]:
        """The prompts in the order of the file, of equal ones the first."""
        prompts: dict[str, Prompt] = {}
        for prompt in read_prompts(self.file, categories=True):
            prompts.setdefault(prompt.text, prompt)
        return list(prompts.values())
