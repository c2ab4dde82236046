"""The benchmark `geneval`: 553 prompts in six tasks (arXiv 2310.11513, djghosh13/geneval)."""

from __future__ import annotations

from collections import Counter
from typing import Any

from milr.benchmarks.download import Files, Source
from milr.benchmarks.official_prompts import OfficialPrompts, lines_of, require_counts, require_distinct
from milr.inputs.json_text import parse_json
from milr.types import Prompt, UsageError

SOURCE = Source(
    "djghosh13/geneval", "af4902f24d3ca90ebbb446dd9891a59e0f82725f", "prompts/evaluation_metadata.jsonl",
    "5c48e0813e812e3c373fa5c8ed07a8f0a483be30272b4427b0559c8048e67c13",
)  # fmt: skip
COUNTS = {"single_object": 80, "two_object": 99, "counting": 80, "colors": 94, "position": 100, "color_attr": 100}


class GenEval(OfficialPrompts):
    """GenEval's prompts with their clauses as metadata; a prompt's category is its task.

    `prompts` names a local copy of evaluation_metadata.jsonl, or its folder; without it the file is fetched. A local
    file may hold other prompts in the same format: then `official` is False, and their counts are not checked.
    """

    name = "geneval"
    metric = "geneval"
    layout = "geneval"
    source: tuple[Source, ...] = (SOURCE,)
    repeats = 1  # how often each line stands in the file: as many samples are meant
    deviations = ("Official runs draw 4 pictures for each prompt, the paper of MILR 1.",)

    def _parse(self, files: Files) -> list[Prompt]:
        name = str(self._local or SOURCE.name)
        lines = self._once(lines_of(files.contents[0], name))
        prompts = require_distinct((_prompt(index, *line, name=name) for index, line in enumerate(lines)), name)
        if files.official:
            require_counts(prompts, COUNTS, name)
        return prompts

    def _once(self, lines: list[tuple[int, str]]) -> list[tuple[int, str]]:
        """The lines without their repetitions, where each stands equally often: so many samples are meant."""
        counts = Counter(line for _, line in lines)
        if len(set(counts.values())) == 1:
            self.repeats = len(lines) // len(counts)
            return list({line: (number, line) for number, line in reversed(lines)}.values())[::-1]
        return lines


def _prompt(index: int, number: int, line: str, *, name: str) -> Prompt:
    """The prompt of one line; UsageError, with the line's number in the file, where it is not in GenEval's format."""
    try:
        record: dict[str, Any] = parse_json(line)
        tag, text = record.pop("tag"), record.pop("prompt")
        clauses = [*record["include"], *record.get("exclude", [])]
        valid = isinstance(tag, str) and isinstance(text, str) and text.strip() and record["include"]
        valid = valid and all(isinstance(clause["class"], str) and clause["count"] >= 1 for clause in clauses)
    except (ValueError, KeyError, TypeError, AttributeError):
        valid = False
    if not valid:
        raise UsageError(f"line {number} of {name} is not in GenEval's format: it needs a tag, a prompt, and include "
                         "clauses with class and count.")  # fmt: skip
    return Prompt(text.strip(), f"geneval-{index:05d}", tag, {"tag": tag, **record}, source=line)
