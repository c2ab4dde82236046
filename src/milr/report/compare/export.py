"""A comparison as CSV and JSON, with every number that the tables round."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from milr.report.compare.records import Comparison, CurvePoint, Difference, MeanCost, MeanScore, RowResult, ScopeScores
from milr.report.compare.scores import OVERALL
from milr.report.compare.sentences import how_made
from milr.report.csv_cells import to_csv_text
from milr.report.statistics import Interval

VERSION = 1  # of the JSON; it grows where a field's meaning changes
_CONTROLS = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}  # those that JSON lets stand, and terminals obey


def to_json(comparison: Comparison) -> str:
    """Every number; an interval is [low, high], an unscored score null. `version` is that of the format."""
    fields = dataclasses.asdict(dataclasses.replace(comparison, pictures=()))
    del fields["pictures"]  # the page's
    content = {"version": VERSION, **fields, "how": how_made(comparison)}
    return json.dumps(content, indent=1, ensure_ascii=False, default=str).translate(_CONTROLS) + "\n"


def to_csv(comparison: Comparison) -> str:
    """Long format: for each row one line overall, one for each category, and one for each point of its curve."""
    lines = [line for row in comparison.rows for line in _lines(row)]
    return to_csv_text(list(dict.fromkeys(name for line in lines for name in line)), lines)


def _lines(row: RowResult) -> Iterator[dict[str, Any]]:
    row_columns = {"row": row.title, "oracle": row.oracle}
    budget = {"pictures_allowed": row.budget}
    yield row_columns | {"kind": OVERALL, "category": ""} | budget | _scope_columns(row.overall) | _cost_columns(
        row.spent) | {"in_flight": " ".join(map(str, row.in_flight)), "peak_memory": row.peak_memory or "",
                      "rank": row.rank}  # fmt: skip
    for name, scores in row.categories.items():
        yield row_columns | {"kind": "category", "category": name} | budget | _scope_columns(scores)
    for point in row.curve:
        yield row_columns | {"kind": "curve", "category": ""} | _point_columns(point)


def _point_columns(point: CurvePoint) -> dict[str, Any]:
    return (
        {"pictures_allowed": point.allowed}
        | _score_columns(point.returned)
        | _test_columns(point.paired)
        | _cost_columns(point.spent)
    )


def _scope_columns(scores: ScopeScores) -> dict[str, Any]:
    return _score_columns(scores.returned) | {"first_score": scores.first.score} | _test_columns(scores.paired)


def _test_columns(paired: Difference | None) -> dict[str, Any]:
    return {} if paired is None else {
        "against": paired.against, "pairs": paired.pairs, "difference": paired.difference,
        **_interval_columns("difference_", paired.interval), "p": paired.p, "p_holm": paired.holm, "test": paired.test,
    }  # fmt: skip


def _score_columns(score: MeanScore) -> dict[str, Any]:
    return {"n": score.n, "scored": score.scored, "score": score.score, **_interval_columns("", score.interval),
            "lowest": score.lowest, "highest": score.highest}  # fmt: skip


def _interval_columns(prefix: str, interval: Interval | None) -> dict[str, Any]:
    low, high = interval or (None, None)
    return {f"{prefix}low": low, f"{prefix}high": high}


def _cost_columns(cost: MeanCost) -> dict[str, Any]:
    return {**dataclasses.asdict(cost), "seconds": cost.seconds}
