"""GenEval's clauses about the embedded world: whether metadata that a user gave can be judged here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from milr.shapes.grammar import RELATIONS
from milr.shapes.scenes import COLOURS, FILLS, SHAPES, SIZES

VALUES = {"color": tuple(COLOURS), "size": tuple(SIZES), "fill": FILLS}
STRUCTURE = ("class", "count", "position")


def problem_of(metadata: Mapping[str, Any]) -> str:
    """Why the judges of this world cannot judge by the metadata, as the end of a sentence; "" where they can."""
    try:
        include, exclude = list(metadata["include"]), list(metadata.get("exclude") or ())
        problems = [_clause_problem(clause, len(include)) for clause in include + exclude]
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
        return "is not in GenEval's form"
    if not include:
        return "has no include clause"
    return next(filter(None, problems), "")


def _clause_problem(clause: Mapping[str, Any], num_clauses: int) -> str:
    if clause["class"] not in SHAPES:
        return f"asks for {clause['class']!r}, and the world has {', '.join(SHAPES)} only"
    if isinstance(clause["count"], bool) or not isinstance(clause["count"], int) or clause["count"] < 1:
        return f"asks for {clause['count']!r} of {clause['class']}, and a count is a whole number from 1"
    for name, value in clause.items():
        if name not in STRUCTURE and value not in VALUES.get(name, ()):
            return f"asks for {name} {value!r}, which the world does not have"
    relation, anchor = clause.get("position", ("above", 0))
    counted = isinstance(anchor, int) and not isinstance(anchor, bool)
    if relation not in RELATIONS.values() or not (counted and 0 <= anchor < num_clauses):
        return f"asks for the position {clause['position']!r}, which cannot be judged"
    return ""
