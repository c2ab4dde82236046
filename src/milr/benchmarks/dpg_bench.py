"""The benchmark `dpg-bench`: 1,065 long prompts with dependent questions (arXiv 2403.05135, Apache-2.0).

The hash of the file was not available when this was written: the commit is pinned, and the first download records the
hash of what it got (see `download`). The commit's full name is not known either; the address takes the short one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from milr.benchmarks.download import Files, Source
from milr.benchmarks.official_prompts import OfficialPrompts, require_distinct, text_of
from milr.rules.dpg_bench import Question, category_of, parse_parents
from milr.types import Prompt, UsageError

SOURCE = Source("TencentQQGYLab/ELLA", "3c228f1", "dpg_bench/dpg_bench.csv")
COUNT = 1065  # prompts
CATEGORY = "dense"  # of every prompt: its questions have categories, and it has none
COLUMNS = ("item_id", "text", "proposition_id", "dependency", "tuple", "question_natural_language")
NUMBERS = ("proposition_id", "dependency")


class DpgBench(OfficialPrompts):
    """DPG-Bench's prompts with their questions as metadata.

    `prompts` names a local copy of dpg_bench.csv, or its folder; without it the file is fetched. Local files may hold
    other prompts in the same format; `official` is False for them, because there is no hash to check them against.
    The first row is skipped, as the official tool does: it is the first question about the first prompt.
    """

    name = "dpg-bench"
    metric = "dpg-bench"
    layout = "dpg-bench"
    source: tuple[Source, ...] = (SOURCE,)
    deviations = (
        "Official runs draw 4 pictures for each prompt. The score is from 0 to 1; published numbers are times 100.",
        "The first row of DPG-Bench's file is skipped, as in the official tool.",
    )

    def _parse(self, files: Files) -> list[Prompt]:
        name = str(self._local or SOURCE.name)
        prompts = require_distinct(_prompts(files.contents[0], name).values(), name, texts=False)
        if files.official and len(prompts) != COUNT:
            raise UsageError(f"{name} has {len(prompts)} prompts, and the official file has {COUNT}: delete it from "
                             "the cache, or name another with --prompts.")  # fmt: skip
        return prompts


def _prompts(content: bytes, name: str) -> dict[str, Prompt]:
    """The prompts by their ids; of an id that stands in two places the tool keeps the second."""
    prompts: dict[str, Prompt] = {}
    rows = list(_rows(content, name))[1:]
    for item, group in groupby(rows, key=lambda numbered: numbered[1]["item_id"]):
        asked: dict[int, Question] = {}
        text = ""
        for number, row in group:
            question = _question(row, number, name)
            asked[question.number] = question  # of two with one number the tool keeps the second
            text = row["text"].strip()
        prompts[item] = Prompt(text, item, CATEGORY, {"questions": [each.to_metadata() for each in asked.values()]})
    return prompts


def _rows(content: bytes, name: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows with the numbers of their last lines; UsageError where the file is no table with the columns."""
    reader = csv.DictReader(io.StringIO(text_of(content, name), newline=""), strict=True)
    try:
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise UsageError(f"{name} has no column {missing[0]}: restore DPG-Bench's file.")
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise UsageError(f"{name} is no table ({error}, line {reader.line_num}): restore DPG-Bench's file.") from None


def _question(row: Mapping[str, Any], number: int, name: str) -> Question:
    try:
        item, text, proposition, asked = (row[column] for column in COLUMNS if column not in NUMBERS)
        question = Question(int(row["proposition_id"]), parse_parents(row["dependency"]), category_of(proposition),
                            asked.strip())  # fmt: skip
        valid = bool(item.strip() and text.strip() and question.text and question.category)
    except (ValueError, AttributeError, TypeError):  # a number that is none, a row that is too short
        valid = False
    if not valid:
        raise UsageError(f"line {number} of {name} is not in DPG-Bench's format: it needs an item_id, a text, a "
                         "proposition_id, a dependency, a tuple and a question.")  # fmt: skip
    return question
