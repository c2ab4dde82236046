"""A comparison as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from milr.outside.text import printable
from milr.report.compare.records import Comparison
from milr.report.compare.sentences import OFFICIAL, UPDATES, headline, how_made, title, verdict
from milr.report.compare.tables import (
    Table,
    category_table,
    curve_table,
    main_table,
    official_table,
    quoted_table,
    spending_table,
    updates_table,
)
from milr.report.quoted import quotation

_SPECIAL = re.compile(r"[\\`*|~#]|(?<!\w)_|_(?!\w)|(?<=\])[(:\[]")  # within a line
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": " ", "\n": " "})


def to_markdown(comparison: Comparison, *, quoted: bool | None = None) -> str:
    """The tables with their notes; `quoted` as in `quoted.quotation`."""
    parts = [f"# {_escape(title(comparison))}", _bullets(verdict(comparison)), _line(headline(comparison)),
             _table(main_table(comparison)), _bullets(comparison.notes)]  # fmt: skip
    if comparison.categories:
        parts += ["## By category", _table(category_table(comparison))]
    if (official := official_table(comparison)).rows:
        parts += ["## The benchmark's own numbers", _escape(OFFICIAL), _table(official)]
    if comparison.searched:
        parts += ["## After so many pictures", _table(curve_table(comparison)), _table(spending_table(comparison))]
    updates = updates_table(comparison)
    if updates.rows:
        parts += ["## What the updates did", _escape(UPDATES), _table(updates)]
    parts += ["## How the numbers are made", _bullets(how_made(comparison))]
    if published := quotation(comparison.benchmark, quoted):
        parts += [
            f"## {_escape(published.heading)}",
            _escape(" ".join(published.sentences)),
            _table(quoted_table(published)),
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(table: Table) -> str:
    lines = [table.header, ["---"] * len(table.header), *table.rows]
    return "\n".join(f"| {' | '.join(_escape(cell) for cell in line)} |" for line in lines)


def _escape(cell: str) -> str:
    """`cell` as text of one line: no HTML, no link, no picture, no emphasis, no other cell, no terminal escape."""
    return _SPECIAL.sub(r"\\\g<0>", printable(cell)).translate(_HTML)


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"* {_line(line)}" for line in lines)


def _line(text: str) -> str:
    """`text` as a line of its own: what begins no heading and no list."""
    text = _escape(text).strip()
    start = re.match(r"[+=-]|\d{1,9}[.)]", text)
    return f"{text[: start.end() - 1]}\\{text[start.end() - 1 :]}" if start else text
