"""The rows of a file, by its content: JSON lines, a JSON array, a table with a header (CSV, TSV), or plain lines.

The ending of the name decides nothing alone, but a file that is called .json or .csv and is none is refused: its
content would be taken for plain text.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from milr.inputs.files import MEBIBYTE, read_file
from milr.inputs.json_text import JsonError, parse_json
from milr.inputs.text import decode_text, shows_something, split_lines
from milr.types import UsageError

MAX_BYTES = 64 * MEBIBYTE
MAX_ROWS = 1_000_000
MAX_PROBLEMS = 10  # that an error names
JSON_SUFFIXES, TABLE_SUFFIXES = (".json", ".jsonl", ".ndjson"), (".csv", ".tsv", ".tab")
OTHER_SUFFIXES = (".yaml", ".yml", ".toml", ".xml", ".html", ".htm")
DELIMITERS = (",", "\t", ";")
# Words that stand in the header of a table and hardly together at the beginning of a text.
HEADER_WORDS = frozenset((
    "id", "index", "idx", "key", "number", "prompt_id", "image_id", "category", "tag", "type", "class", "label", "name",
    "title", "url", "image", "image_path", "file", "filename", "file_name", "path", "seed", "source", "split",
    "description", "note", "challenge",
))  # fmt: skip
_JSON_START = re.compile(r"""\s*(\{\s*["'}]|\[\s*["'\[{\]])""")
_JSON_STRING = re.compile(r'\s*"(?:[^"\\]|\\.)*"\s*')


@dataclass(frozen=True)
class Row:
    """One row: its `label` ("line 3", or "item 3" of an array), and its value or the problem with it.

    The value is a dict (a JSON object, a row of a table), or any other JSON value, or the text of a plain line.
    `source` is the JSON of the row ("": there is none).
    """

    label: str
    value: Any = None
    source: str = ""
    problem: str = ""


def read_rows(path: Path, columns: Sequence[str]) -> list[Row]:
    """The rows of a file; a table is one whose header has one of `columns`.

    UsageError where the file cannot be read as a whole; what is wrong with a row stands in the row.
    """
    text = decode_text(read_file(path, MAX_BYTES, pipes=True), str(path))
    too_many = UsageError(f"{path} has more than {MAX_ROWS} rows, the most that are read: split it.")
    if text.count("\n") + text.count("\r") > 4 * MAX_ROWS:  # two ends a line, every second one empty
        raise too_many
    rows = _rows(text, path, columns)
    if len(rows) > MAX_ROWS:
        raise too_many
    return rows


def refuse(path: Path, problems: Sequence[tuple[str, str]]) -> None:
    """UsageError that tells what is wrong with the rows, as (label, problem), where something is."""
    if not problems:
        return
    shown = "; ".join(f"{label}: {problem}" for label, problem in problems[:MAX_PROBLEMS])
    more = f"; and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
    raise UsageError(f"{path}, {shown}{more}.")


def column_of(names: Sequence[str], columns: Sequence[str]) -> str | None:
    """The first of `columns` that is among the `names`, spelled as there; the case of letters does not matter."""
    for column in columns:
        matches = [name for name in names if name is not None and name.strip().lower() == column]
        if len(matches) == 1 or column in matches:
            return column if column in matches else matches[0]
    return None


def find_column(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """The column of `columns` that the first row with one of them has; the first of `columns` where none has one."""
    objects = (row.value for row in rows if isinstance(row.value, dict))
    return next((name for names in objects if (name := column_of(list(names), columns))), columns[0])


def _rows(text: str, path: Path, columns: Sequence[str]) -> list[Row]:
    suffix, lines = path.suffix.lower(), split_lines(text)
    if not lines:
        return []
    if suffix in OTHER_SUFFIXES:
        raise UsageError(f"{path} is no file of rows: save it as plain lines, JSON lines or CSV.")
    if suffix in JSON_SUFFIXES or _JSON_START.match(text):
        return _json_rows(text, lines, path)
    if delimiter := _delimiter(text, lines, columns, suffix=suffix):
        return _table_rows(text, delimiter, path, columns)
    if all(_is_json_string(line) for _, line in lines):
        return _json_rows(text, lines, path)
    return _plain_rows(lines)


def _is_json_string(line: str) -> bool:
    return _JSON_STRING.fullmatch(line) is not None


# --- JSON


def _json_rows(text: str, lines: Sequence[tuple[int, str]], path: Path) -> list[Row]:
    """The items of one array, one object, or a value on each line; UsageError for an array or object that is broken."""
    try:
        value = parse_json(text)
    except JsonError as error:
        rows = [_json_row(number, line) for number, line in lines]
        is_array = text.lstrip().startswith("[") and rows[0].problem
        is_object = text.lstrip().startswith("{") and not any(isinstance(row.value, dict) for row in rows)
        if is_array or (is_object and len(rows) > 1):
            raise UsageError(f"{path} {error}.") from None
        return rows
    items = value if isinstance(value, list) else [value]
    labels = [f"item {position}" for position in range(1, len(items) + 1)] if isinstance(value, list) else ["line 1"]
    sources = [lines[0][1]] if len(lines) == 1 and value is not items else [
        json.dumps(item) if isinstance(item, dict) else "" for item in items]  # fmt: skip
    return [Row(*row) for row in zip(labels, items, sources, strict=True)]


def _json_row(number: int, line: str) -> Row:
    try:
        return Row(f"line {number}", parse_json(line), line)
    except JsonError as error:
        return Row(f"line {number}", problem=str(error), source=line)


# --- tables


def _delimiter(text: str, lines: Sequence[tuple[int, str]], columns: Sequence[str], *, suffix: str) -> str:
    """What separates the columns of a table; "" for a text that is none."""
    header = lines[0][1]
    for delimiter in DELIMITERS:
        names = _cells(header, delimiter)
        column = column_of(names, columns)
        is_header = column and (len(names) == 1 or suffix in TABLE_SUFFIXES or column.lower() == columns[0])
        if is_header or (column and _is_regular(text, delimiter)):
            return delimiter
    if suffix in TABLE_SUFFIXES:
        return "\t" if "\t" in header else ","
    return next((delimiter for delimiter in DELIMITERS if _looks_like_a_table(text, header, delimiter)), "")


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip().strip('"').strip() for cell in line.split(delimiter)]


def _looks_like_a_table(text: str, header: str, delimiter: str) -> bool:
    """Whether the first line has words of a header, and every line as many cells."""
    names = _cells(header, delimiter)
    words = all(re.fullmatch(r"\w+", name) for name in names) and HEADER_WORDS & {name.lower() for name in names}
    return len(names) > 1 and bool(words) and _is_regular(text, delimiter)


def _is_regular(text: str, delimiter: str) -> bool:
    """Whether there is a second row, and every row has as many cells as the first."""
    try:
        rows = _parse_table(text, delimiter, quoted=True)
    except csv.Error:
        return False
    return len(rows) > 1 and len({len(cells) for _, cells in rows}) == 1


def _table_rows(text: str, delimiter: str, path: Path, columns: Sequence[str]) -> list[Row]:
    """The rows of a table as dicts; UsageError where its header has none of `columns`, or one twice."""
    try:
        rows = _parse_table(text, delimiter, quoted=True)
    except csv.Error as error:
        if delimiter != "\t":
            raise UsageError(f"{path} is no CSV ({error}): mend its quotes, or save it again as CSV.") from None
        rows = _parse_table(text, delimiter, quoted=False)
    if not rows:
        return []
    header = [name.strip() for name in rows[0][1]]
    column = column_of(header, columns)
    if column is None or header.count(column) > 1:
        names = ", ".join(repr(name[:40]) for name in header[:MAX_PROBLEMS])
        raise UsageError(f"{path} is a table without one column {' or '.join(columns)} (its columns: {names}): give "
                         "that name to the column that is meant, or save one row a line without a header.")  # fmt: skip
    return [_table_row(number, cells, header) for number, cells in rows[1:]]


def _table_row(number: int, cells: Sequence[str], header: Sequence[str]) -> Row:
    if len(cells) != len(header):
        return Row(f"line {number}", problem=f"has {len(cells)} cells, and the header has {len(header)}")
    return Row(f"line {number}", dict(zip(header, cells, strict=True)))


def _parse_table(text: str, delimiter: str, *, quoted: bool) -> list[tuple[int, list[str]]]:
    """The number of the first line, and the cells, of each row that shows something."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=quoted,
                        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)  # fmt: skip
    rows, number = [], 1
    for cells in reader:
        if shows_something("".join(cells)):
            rows.append((number, cells))
        number = reader.line_num + 1
    return rows


# --- plain lines


def _plain_rows(lines: Sequence[tuple[int, str]]) -> list[Row]:
    problem = "is JSON, and other lines are not: write all of them in one way"
    return [Row(f"line {number}", line, problem=problem if _JSON_START.match(line) else "") for number, line in lines]
