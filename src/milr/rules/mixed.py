"""MixedReward's rules (miyapeng/MILR d7b42fb, with parts of CaraJ7/T2I-R1 2d9d4d1), pure.

Three parts: what a grounding detector finds of the prompt's clauses, what a model answers to a question about each
clause, and UnifiedReward's score. Clauses are GenEval's: {"class", "count", "color", "position": [relation, index]}.
Quirks of the released code are reproduced, and the docstrings name them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from milr.rules.grounding import GroundedBox
from milr.rules.t2i_compbench import iou, position_score

PARTIAL_CREDIT = 0.2  # for each of the two objects of a relation, and for a wrong number of objects
NMS_IOU = 0.5
COLOUR_TAGS = ("colors", "color_attr")
_LOCALITIES = {
    "left of": "on the left of", "left": "on the left of", "right of": "on the right of", "right": "on the right of",
    "above": "on the top of", "below": "on the bottom of",
}  # fmt: skip
Clauses = Sequence[Mapping[str, Any]]
BoxesByClass = Mapping[str, Sequence[GroundedBox]]  # best first


def grounding_score(clauses: Clauses, boxes: BoxesByClass) -> float:
    """The score of the relation where a clause states one (at most 0.9), else of the counts (at most 1)."""
    placed = next((clause for clause in clauses if "position" in clause), None)
    if placed is None:
        return numeracy_score(clauses, boxes)
    relation, anchor = placed["position"]
    return relation_score(relation, boxes.get(placed["class"], ()), boxes.get(clauses[anchor]["class"], ()))


def relation_score(relation: str, placed: Sequence[GroundedBox], anchor: Sequence[GroundedBox]) -> float:
    """0.2 for each object found, plus half the position score of the best box of one to the best box of the other.

    Quirk: T2I-CompBench's rule for positions gets relative boxes in [0, 1], where everything is near everything.
    """
    value = sum(PARTIAL_CREDIT for objects in (placed, anchor) if objects)
    if placed and anchor:
        value += 0.5 * position_score(_LOCALITIES.get(relation, relation), placed[0].xyxy, anchor[0].xyxy)
    return value


def numeracy_score(clauses: Clauses, boxes: BoxesByClass) -> float:
    """Mean over clauses: 1 for the right number of objects, 0.2 for another, 0 for none."""
    scores = [_count_score(int(clause["count"]), boxes.get(clause["class"], ())) for clause in clauses]
    return sum(scores) / len(scores) if scores else 1.0


def _count_score(count: int, objects: Sequence[GroundedBox]) -> float:
    number = len(suppress(objects))
    return 1.0 if number == count else PARTIAL_CREDIT if number else 0.0


def suppress(boxes: Sequence[GroundedBox]) -> list[GroundedBox]:
    """What non-maximum suppression leaves of the boxes, which come best first.

    Quirk: (centre x, centre y, width, height) is taken for (x1, y1, x2, y2), so hardly ever a box is suppressed.
    """
    remaining: list[GroundedBox] = []
    for box in boxes:
        if all(iou(box.cxcywh, other.cxcywh) <= NMS_IOU for other in remaining):
            remaining.append(box)
    return remaining


def question_of(clause: Mapping[str, Any]) -> str:
    """The yes/no question about one clause, with its colour where it states one."""
    count, noun = int(clause["count"]), " ".join(filter(None, (clause.get("color"), clause["class"])))
    return f"Are there {count} {noun}s?" if count > 1 else f"Is this a {noun}?"


def questions_score(answers: Sequence[float]) -> float:
    """The mean of P(yes) over the clauses, in [0, 1]; 0 where there is no clause."""
    return sum(answers) / len(answers) if answers else 0.0


def mixed_score(grounding: float, questions: float, unified: float, *, tag: str) -> float:
    """The weighted mean of the three parts: 0.4, 0.4, 0.2 where the tag is about colours, else 0.6, 0.2, 0.2."""
    grounding_weight, questions_weight = (0.4, 0.4) if tag in COLOUR_TAGS else (0.6, 0.2)
    return grounding_weight * grounding + questions_weight * questions + 0.2 * unified
