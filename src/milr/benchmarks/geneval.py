"""GenEval's prompts: 553 lines of clauses in six tasks (djghosh13/geneval, EVALUATION.md 1.1, 1.2 and 1.7)."""

from __future__ import annotations

import json
from typing import Any

from milr.benchmarks.download import Files, Source
from milr.benchmarks.official_prompts import OfficialPrompts, lines_of, refuse_other_counts, told_apart
from milr.types import Prompt, UsageError

SOURCE = Source(
    "djghosh13/geneval", "af4902f24d3ca90ebbb446dd9891a59e0f82725f", "prompts/evaluation_metadata.jsonl",
    "5c48e0813e812e3c373fa5c8ed07a8f0a483be30272b4427b0559c8048e67c13",
)  # fmt: skip
COUNTS = {"single_object": 80, "two_object": 99, "counting": 80, "colors": 94, "position": 100, "color_attr": 100}


class GenEval(OfficialPrompts):
    """`prompts` names a local copy of evaluation_metadata.jsonl (or its folder); without it the file is fetched.

    A local file may be another in the same format: then `official` is False and its counts are its own.
    """

    name = "geneval"
    metric = "geneval"
    layout = "geneval"
    source: tuple[Source, ...] = (SOURCE,)
    deviations = ("Official runs draw 4 pictures for each prompt, the paper of MILR 1.",)

    def _parsed(self, files: Files) -> list[Prompt]:
        name = str(self._local or SOURCE.name)
        lines = lines_of(files.contents[0], name)
        found = told_apart((_prompt(place, *line, name) for place, line in enumerate(lines)), name)
        if files.official:
            refuse_other_counts(found, COUNTS, name)
        return found


def _prompt(place: int, number: int, line: str, name: str) -> Prompt:
    """The prompt of one line; UsageError, with the line's number, where it is not in GenEval's format."""
    try:
        told: dict[str, Any] = json.loads(line)
        tag, text = told.pop("tag"), told.pop("prompt")
        clauses = [*told["include"], *told.get("exclude", [])]
        sound = isinstance(tag, str) and isinstance(text, str) and text.strip() and told["include"]
        sound = sound and all(isinstance(one["class"], str) and one["count"] >= 1 for one in clauses)
    except (ValueError, KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise UsageError(f"line {number} of {name} is not in GenEval's format: it needs a tag, a prompt, and include "
                         "clauses with class and count.")  # fmt: skip
    return Prompt(text.strip(), f"geneval-{place:05d}", tag, {"tag": tag, **told}, source=line)
