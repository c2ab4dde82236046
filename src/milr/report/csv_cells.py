"""CSV whose cells no spreadsheet takes for a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n")


def to_csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A header and the rows; a text that begins with a sign of a formula gets an apostrophe before it.

    Numbers stay numbers. A column that a row lacks is empty.
    """
    content = io.StringIO(newline="")
    writer = csv.DictWriter(content, fieldnames=list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: harmless(value) for name, value in row.items()} for row in rows)
    return content.getvalue()


def harmless(value: Any) -> Any:
    """`value`; a text that begins with a sign of a formula, after blanks or none, with an apostrophe before it."""
    if isinstance(value, str) and (value.startswith(FORMULA_SIGNS) or value.lstrip().startswith(FORMULA_SIGNS)):
        return f"'{value}"
    return value
