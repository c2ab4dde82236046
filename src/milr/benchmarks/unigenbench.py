"""The benchmark `unigenbench`: UniGenBench++'s 600 prompts (arXiv 2510.18701, CC BY 4.0).

The hashes of the four files were not available when this was written: the commit is pinned, and the first download of
each records the hash of what it got (see `download`). The commit's full name is not known either; the address takes the
short one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from milr.benchmarks.download import Fetch, Files, Source, fetch
from milr.benchmarks.official_prompts import OfficialPrompts, require_distinct, text_of
from milr.inputs.json_text import parse_json
from milr.types import Prompt, UsageError

SPLITS = {split: Source("CodeGoat24/UniGenBench", "49d0bce", f"data/test_prompts_{split}.csv")
          for split in ("en", "en_long", "zh", "zh_long")}  # fmt: skip
COUNT = 600  # prompts of each
PROMPT, DIMENSIONS = "prompt_", "sub_dims_"  # how the names of the columns begin; they end in the language


class UniGenBench(OfficialPrompts):
    """UniGenBench++'s prompts of one `split`, with their test points as metadata.

    `prompts` names a local copy of the split's file, or its folder; without it the file is fetched. Local files may
    hold other prompts in the same format; `official` is False for them, because there is no hash to check them against.
    UsageError for another split.
    """

    name = "unigenbench"
    metric = "unigenbench"
    layout = "unigenbench"
    deviations = (
        "Official runs draw 4 pictures for each prompt. Published numbers are of the judge gemini-2.5-pro, or of "
        "UniGenBench's own, in the official wording; another judge or wording gives other scores.",
    )

    def __init__(self, prompts: Path | None = None, fetch: Fetch = fetch, *, split: str = "en") -> None:
        if split not in SPLITS:
            raise UsageError(f"the benchmark unigenbench has no split {split!r}; there are {', '.join(SPLITS)}.")
        super().__init__(prompts, fetch)
        self.split = split
        self.source = (SPLITS[split],)

    def _parse(self, files: Files) -> list[Prompt]:
        name = str(self._local or self.source[0].name)
        prompts = require_distinct(_prompts(files.contents[0], name, self.split), name, texts=False)
        if files.official and len(prompts) != COUNT:
            raise UsageError(f"{name} has {len(prompts)} prompts, and the official file has {COUNT}: delete it from "
                             "the cache, or name another with --prompts.")  # fmt: skip
        return prompts


def _prompts(content: bytes, name: str, category: str) -> Iterator[Prompt]:
    reader = csv.DictReader(io.StringIO(text_of(content, name), newline=""), strict=True)
    try:
        columns = [next((column for column in reader.fieldnames or () if column.startswith(beginning)), "")
                   for beginning in ("index", PROMPT, DIMENSIONS)]  # fmt: skip
        if not all(columns):
            raise UsageError(f"{name} lacks a column index, prompt_... or sub_dims_...: restore UniGenBench's file.")
        for row in reader:
            yield _prompt(row, columns, number=reader.line_num, name=name, category=category)
    except csv.Error as error:
        raise UsageError(f"{name} is no table ({error}, line {reader.line_num}): restore UniGenBench's file.") from None


def _prompt(row: Mapping[str, Any], columns: list[str], *, number: int, name: str, category: str) -> Prompt:
    """The prompt of a row; UsageError, with the number of its last line, where it is not in UniGenBench's format."""
    try:
        index, text, dimensions = (row[column] for column in columns)
        record = parse_json(dimensions)
        points, descriptions = record["Testpoints"], record["Testpoint Description"]
        valid = isinstance(points, list) and isinstance(descriptions, list) and len(points) == len(descriptions) > 0
        valid = valid and all(isinstance(each, str) for each in (*points, *descriptions))
        valid = valid and bool(text.strip()) and int(index) >= 0
    except (ValueError, TypeError, KeyError, AttributeError):
        valid = False
    if not valid:
        raise UsageError(f"line {number} of {name} is not in UniGenBench's format: it needs an index, a prompt, and as "
                         "many test points as descriptions of them.")  # fmt: skip
    metadata = {"testpoints": list(points), "descriptions": list(descriptions)}
    return Prompt(text.strip(), str(int(index)), category, metadata)
