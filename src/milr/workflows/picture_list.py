"""A list of pictures with their prompts, in a file: JSON lines, a JSON array, or a table with a header."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from milr.inputs.rows import Row, find_column, read_rows, refuse
from milr.runs.official_pictures import MAX_SAMPLES, OfficialPicture
from milr.types import Prompt, UsageError
from milr.workflows.prompts import COLUMNS, prompt_of_row

PATH_COLUMNS = ("path", "image", "picture", "file", "filename", "file_name", "image_path")


def read_picture_list(file: Path) -> list[OfficialPicture]:
    """The pictures that `file` lists, in its order; a prompt that stands in several rows has as many samples.

    Paths are relative to the folder of `file`. UsageError, telling all rows that cannot be read.
    """
    rows = read_rows(file, COLUMNS)
    column, path_column = find_column(rows, COLUMNS), find_column(rows, PATH_COLUMNS)
    counts: Counter[str] = Counter()
    prompts: dict[str, Prompt] = {}
    pictures, problems = [], []
    for row in rows:
        try:
            prompt, path = prompt_of_row(row, column), _path_of(row, path_column)
            if prompts.setdefault(prompt.text, prompt).metadata != prompt.metadata:
                raise ValueError("the prompt has other metadata than in an earlier row")
            if counts[prompt.text] >= MAX_SAMPLES:
                raise ValueError(f"the prompt has more than {MAX_SAMPLES} pictures")
        except ValueError as error:
            problems.append((row.label, str(error)))
            continue
        pictures.append(OfficialPicture(prompts[prompt.text], counts[prompt.text], file.parent / path))
        counts[prompt.text] += 1
    refuse(file, problems)
    if not pictures:
        raise UsageError(f"{file} lists no pictures: write a path and a prompt in each row.")
    return pictures


def _path_of(row: Row, column: str) -> str:
    """The path of a row's picture; ValueError, with the problem, where it has none."""
    path: Any = row.value.get(column) if isinstance(row.value, dict) else None
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise ValueError(f'no path of a picture in a field "{column}"')
    return path.strip()
