"""MixedReward's rules (miyapeng/MILR d7b42fb, with parts of CaraJ7/T2I-R1 2d9d4d1), pure.

Three parts: what a grounding detector finds of the prompt's clauses, what a model answers to a question about each
clause, and UnifiedReward's score. Clauses are GenEval's: {"class", "count", "color", "position": [relation, index]}.
Quirks are kept, and said where they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from milr.rules.grounding import Grounded
from milr.rules.t2i_compbench import overlap, position

FOUND = 0.2  # for each of the two objects of a relation, and for a wrong number of objects
NMS_OVERLAP = 0.5
COLOUR_TAGS = ("colors", "color_attr")
_LOCALITIES = {
    "left of": "on the left of", "left": "on the left of", "right of": "on the right of", "right": "on the right of",
    "above": "on the top of", "below": "on the bottom of",
}  # fmt: skip
Clauses = Sequence[Mapping[str, Any]]
Findings = Mapping[str, Sequence[Grounded]]  # class name to what was found of it, best first


def grounding_score(clauses: Clauses, findings: Findings) -> float:
    """By relation where a clause states one (0.9 at most), else by number (1 at most; 1 where there is no clause)."""
    placed = next((clause for clause in clauses if "position" in clause), None)
    if placed is None:
        return numeracy_score(clauses, findings)
    relation, anchor = placed["position"]
    return relation_score(relation, findings.get(placed["class"], ()), findings.get(clauses[anchor]["class"], ()))


def relation_score(relation: str, placed: Sequence[Grounded], anchor: Sequence[Grounded]) -> float:
    """0.2 for each object found, and half of how well the best of one lies to the best of the other.

    Quirk: positions are judged by CompBench's rule on boxes in 0..1, where all that is "next to" is near enough.
    """
    value = sum(FOUND for objects in (placed, anchor) if objects)
    if placed and anchor:
        value += 0.5 * position(_LOCALITIES.get(relation, relation), placed[0].corners, anchor[0].corners)
    return value


def numeracy_score(clauses: Clauses, findings: Findings) -> float:
    """Mean over clauses: 1 for the right number of objects, 0.2 for another, 0 for none."""
    marks = [_numeracy(int(clause["count"]), findings.get(clause["class"], ())) for clause in clauses]
    return sum(marks) / len(marks) if marks else 1.0


def _numeracy(count: int, objects: Sequence[Grounded]) -> float:
    number = len(suppressed(objects))
    return 1.0 if number == count else FOUND if number else 0.0


def suppressed(objects: Sequence[Grounded]) -> list[Grounded]:
    """What non-maximum suppression leaves of objects given best first.

    Quirk: (centre x, centre y, width, height) is taken for (x1, y1, x2, y2), so it hardly ever takes anything away.
    """
    kept: list[Grounded] = []
    for one in objects:
        if all(overlap(one.centred, other.centred) <= NMS_OVERLAP for other in kept):
            kept.append(one)
    return kept


def question_of(clause: Mapping[str, Any]) -> str:
    """The question about one clause; its colour is asked for where it states one."""
    count, thing = int(clause["count"]), " ".join(filter(None, (clause.get("color"), clause["class"])))
    return f"Are there {count} {thing}s?" if count > 1 else f"Is this a {thing}?"


def questions_score(answers: Sequence[float]) -> float:
    """The mean of P(yes) over clauses; 0 where there is none."""
    return sum(answers) / len(answers) if answers else 0.0


def mixed_score(grounding: float, questions: float, unified: float, tag: str) -> float:
    """The weighted mean: 0.4, 0.4, 0.2 where the prompt is about colours, else 0.6, 0.2, 0.2."""
    first, second = (0.4, 0.4) if tag in COLOUR_TAGS else (0.6, 0.2)
    return first * grounding + second * questions + 0.2 * unified
