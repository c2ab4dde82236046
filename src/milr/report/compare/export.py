"""A comparison as CSV and JSON, with every number that the tables round."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterator
from typing import Any

from milr.report.compare.records import Comparison, Measured, Paired, Part, Point, RowNumbers, Spent
from milr.report.compare.scores import OVERALL
from milr.report.compare.tables import how_made
from milr.report.statistics import Interval

VERSION = 1  # of the JSON; it grows where a field's meaning changes


def to_json(comparison: Comparison) -> str:
    """Every number; an interval is [low, high], an unscored score null. `version` is that of the format."""
    about = {"version": VERSION, **dataclasses.asdict(comparison), "how": how_made(comparison)}
    return json.dumps(about, indent=1, ensure_ascii=False, default=str) + "\n"


def to_csv(comparison: Comparison) -> str:
    """Long format: for each row one line overall, one for each category, and one for each point of its curve."""
    lines = [line for row in comparison.rows for line in _lines(row)]
    content = io.StringIO(newline="")
    writer = csv.DictWriter(content, fieldnames=list(dict.fromkeys(name for line in lines for name in line)),
                            lineterminator="\n")  # fmt: skip
    writer.writeheader()
    writer.writerows(lines)
    return content.getvalue()


def _lines(row: RowNumbers) -> Iterator[dict[str, Any]]:
    about = {"row": row.title, "oracle": row.oracle}
    whole = {"pictures_allowed": row.budget}
    yield about | {"kind": OVERALL, "category": ""} | whole | _part_columns(row.overall) | _spent_columns(row.spent) | {
        "in_flight": " ".join(map(str, row.in_flight)), "peak_memory": row.peak_memory or "", "rank": row.rank,
    }  # fmt: skip
    for name, part in row.categories.items():
        yield about | {"kind": "category", "category": name} | whole | _part_columns(part)
    for point in row.curve:
        yield about | {"kind": "curve", "category": ""} | _point_columns(point)


def _point_columns(point: Point) -> dict[str, Any]:
    return (
        {"pictures_allowed": point.allowed}
        | _columns(point.returned)
        | _tested(point.paired)
        | _spent_columns(point.spent)
    )


def _part_columns(part: Part) -> dict[str, Any]:
    return _columns(part.returned) | {"first_score": part.first.score} | _tested(part.paired)


def _tested(paired: Paired | None) -> dict[str, Any]:
    return {} if paired is None else {
        "against": paired.against, "pairs": paired.pairs, "difference": paired.difference,
        **_ends("difference_", paired.interval), "p": paired.p, "p_holm": paired.holm, "test": paired.test,
    }  # fmt: skip


def _columns(measured: Measured) -> dict[str, Any]:
    return {"n": measured.n, "scored": measured.scored, "score": measured.score, **_ends("", measured.interval),
            "lowest": measured.lowest, "highest": measured.highest}  # fmt: skip


def _ends(prefix: str, interval: Interval | None) -> dict[str, Any]:
    low, high = interval or (None, None)
    return {f"{prefix}low": low, f"{prefix}high": high}


def _spent_columns(spent: Spent) -> dict[str, Any]:
    return {**dataclasses.asdict(spent), "seconds": spent.seconds}
