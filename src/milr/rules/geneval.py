"""GenEval's rules (arXiv 2310.11513; djghosh13/geneval af4902f, `evaluate_images.py`, `summary_scores.py`), pure.

What follows GenEval: strict float32 thresholds, the 16 best objects of each class, clauses in order, attributes of the
best instances only, relative position with the unreduced norm, extra objects without effect. What is ours: a clause may
name any attribute that has a classifier (GenEval has `color` alone), and `graded`, which gives partial credit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from milr.types import UsageError

COUNTING_THRESHOLD = 0.9
THRESHOLD = 0.3
MAX_OBJECTS = 16  # of each class
POSITION_REDUCTION = 0.1  # of the summed sizes
NEARLY_ZERO = 1e-3
RELATION_SHARE = 0.5  # of the distance between the centres
Box = tuple[float, float, float, float]
_STRUCTURE = ("class", "count", "position")


@dataclass(frozen=True)
class Detection:
    """A detected object: box (x1, y1, x2, y2) in pixels, half-open; score in [0, 1]; mask (H, W) bool or None."""

    box: Box
    score: float
    mask: np.ndarray | None = field(default=None, compare=False, repr=False)


Detections = Mapping[str, Sequence[Detection]]
Classifier = Callable[[str, Sequence[Detection]], Sequence[str | None]]  # class name, objects -> value of each


@dataclass(frozen=True)
class ClauseVerdict:
    """The verdict on one include clause (or on an exclude clause about a class that no include clause names).

    `facts` maps found, count, position and the attributes that the clause states to whether they hold; `reasons`
    describes those that do not. GenEval skips a clause's position once the clause or its anchor failed; here every
    fact is judged, which changes no verdict because all facts have to hold.
    """

    name: str
    facts: Mapping[str, bool]
    reasons: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether every stated fact holds."""
        return all(self.facts.values())

    @property
    def share(self) -> float:
        """The share of the stated facts that hold, in [0, 1]."""
        return sum(self.facts.values()) / len(self.facts)


@dataclass(frozen=True)
class Verdict:
    """GenEval's verdict on one picture: `correct` where every clause holds."""

    correct: bool
    reasons: tuple[str, ...]
    clauses: tuple[ClauseVerdict, ...]


def threshold_of(tag: str) -> float:
    """The score that a detection has to exceed: 0.9 for counting, else 0.3."""
    return COUNTING_THRESHOLD if tag == "counting" else THRESHOLD


def best_objects(objects: Sequence[Detection], threshold: float, max_iou: float = 1.0) -> list[Detection]:
    """The detections of one class above the threshold (strictly, in float32), best first, at most 16.

    `max_iou` below 1 turns on GenEval's greedy suppression: an object that overlaps a better one by as much is removed.
    """
    above = [detection for detection in objects if np.float32(detection.score) > np.float32(threshold)]
    best = sorted(above, key=lambda detection: -np.float32(detection.score))[:MAX_OBJECTS]
    if max_iou >= 1:
        return best
    remaining: list[Detection] = []
    for detection in best:
        if all(iou(detection.box, other.box) < max_iou for other in remaining):
            remaining.append(detection)
    return remaining


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes, with GenEval's "+1" pixel areas."""
    corners = (max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    shared = _area(corners)
    return shared / (_area(a) + _area(b) - shared) if shared else 0.0


def _area(box: Sequence[float]) -> float:
    return max(box[2] - box[0] + 1, 0) * max(box[3] - box[1] + 1, 0)


def relations(a: Detection, b: Detection) -> frozenset[str]:
    """The relations in which `a` stands to `b`: none, one or two of left of, right of, above, below."""
    boxes = np.array([a.box, b.box], np.float32).reshape(2, 2, 2)  # object, corner, axis
    centres = boxes.mean(1)
    sizes = np.abs(boxes[:, 1] - boxes[:, 0])
    offset = centres[0] - centres[1]
    reduced = np.sign(offset) * np.maximum(np.abs(offset) - np.float32(POSITION_REDUCTION) * sizes.sum(0), 0)
    if np.all(np.abs(reduced) < NEARLY_ZERO):
        return frozenset()
    dx, dy = reduced / np.linalg.norm(offset)
    holds = {"left of": dx < -RELATION_SHARE, "right of": dx > RELATION_SHARE,
             "above": dy < -RELATION_SHARE, "below": dy > RELATION_SHARE}  # fmt: skip
    return frozenset(name for name, held in holds.items() if held)


def judge(detections: Detections, metadata: Mapping[str, Any], attributes: Mapping[str, Classifier] | None = None,
          *, max_iou: float = 1.0) -> Verdict:  # fmt: skip
    """The verdict on one picture, from what was detected in it and the prompt's clauses."""
    threshold = threshold_of(metadata.get("tag", ""))
    objects = {name: best_objects(candidates, threshold, max_iou) for name, candidates in detections.items()}
    include = tuple(metadata.get("include", ()))
    limits = {clause["class"]: int(clause["count"]) for clause in metadata.get("exclude") or ()}
    clauses: list[ClauseVerdict] = []
    for clause in include:
        facts = _presence(clause, objects) | _attributes(clause, objects, attributes or {})
        if "position" in clause:
            facts |= _position(clause, include, objects)
        facts |= _limit(clause["class"], limits, objects, facts)
        clauses.append(_clause_verdict(clause["class"], facts))
    for name in [name for name in limits if all(clause["class"] != name for clause in include)]:
        clauses.append(_clause_verdict(name, _limit(name, limits, objects, {})))
    reasons = tuple(reason for clause in clauses for reason in clause.reasons)
    return Verdict(all(clause.holds for clause in clauses), reasons, tuple(clauses))


def graded(verdict: Verdict) -> float:
    """Partial credit in [0, 1]: the mean over clauses of the share of facts that hold; 1.0 exactly when correct.

    A clause's facts are judged independently (unlike GenEval, a wrong colour does not also fail the position), so
    each mistake costs once.
    """
    if verdict.correct:
        return 1.0
    return float(np.mean([clause.share for clause in verdict.clauses]))


def aggregate(results: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Task scores (mean over the pictures of each tag) and `overall`, the plain mean of the task scores."""
    tasks = {tag: float(np.mean(values)) for tag, values in results.items() if len(values)}
    return tasks | {"overall": float(np.mean(list(tasks.values()))) if tasks else float("nan")}


_Facts = dict[str, str]  # each fact to why it does not hold; "" where it holds
_Objects = Mapping[str, list[Detection]]  # each class to its best objects


def _clause_verdict(name: str, facts: _Facts) -> ClauseVerdict:
    reasons = tuple(dict.fromkeys(reason for reason in facts.values() if reason))
    return ClauseVerdict(name, {fact: not reason for fact, reason in facts.items()}, reasons)


def _instances(clause: Mapping[str, Any], objects: _Objects) -> list[Detection]:
    """The objects that decide a clause: as many as it counts, the best first, or fewer where there are fewer."""
    return objects.get(clause["class"], [])[: int(clause["count"])]


def _presence(clause: Mapping[str, Any], objects: _Objects) -> _Facts:
    expected, number = int(clause["count"]), len(objects.get(clause["class"], ()))
    reason = f"expected {clause['class']}>={expected}, found {number}"
    facts = {"found": "" if number else reason}
    return facts | ({"count": "" if number >= expected else reason} if expected > 1 else {})


def _attributes(clause: Mapping[str, Any], objects: _Objects, attributes: Mapping[str, Classifier]) -> _Facts:
    instances, count = _instances(clause, objects), int(clause["count"])
    facts = {}
    for key in (key for key in clause if key not in _STRUCTURE):
        if key not in attributes:
            raise UsageError(f"the prompt's metadata asks for the {key} of a {clause['class']}, which cannot be judged")
        values = list(attributes[key](clause["class"], instances)) if instances else []
        correct = sum(value == clause[key] for value in values)
        observed = ", ".join(str(value or "no known one") for value in values) or "no object"
        facts[key] = "" if correct >= count else f"expected {key} {clause[key]} of {clause['class']}, found {observed}"
    return facts


def _position(clause: Mapping[str, Any], include: Sequence[Mapping[str, Any]], objects: _Objects) -> _Facts:
    relation, index = clause["position"]
    name, anchor = clause["class"], include[index]
    placed, anchors = _instances(clause, objects), _instances(anchor, objects)
    if len(placed) < int(clause["count"]) or len(anchors) < int(anchor["count"]):
        missing = name if len(placed) < int(clause["count"]) else anchor["class"]
        return {"position": f"no {missing} to judge {name} {relation} {anchor['class']} by"}
    holds = all(relation in relations(instance, other) for instance in placed for other in anchors)
    return {"position": "" if holds else f"expected {name} {relation} {anchor['class']}"}


def _limit(name: str, limits: Mapping[str, int], objects: _Objects, facts: _Facts) -> _Facts:
    """An exclude clause, as part of the fact `count`."""
    if name not in limits:
        return {}
    number = len(objects.get(name, ()))
    too_many = "" if number < limits[name] else f"expected {name}<{limits[name]}, found {number}"
    return {"count": facts.get("count") or too_many}
