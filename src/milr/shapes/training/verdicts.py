"""The answers that nano learns to give about a picture: a description, a comparison with the question, yes or no.

The description lists the objects: "star red solid large a1 , circle blue striped small b3". The comparison takes the
question's phrases one by one and copies from the description the objects of that shape: "red star : star red solid
large a1 yes , two heart : no , left of no". Shapes come first and cells last, so that the objects can be copied in
order: a network of nano's size learned much later to search for cells backwards (docs/log.md). A description and a
comparison first is what the paper's SelfReward asks of Janus; a bare yes or no was hardly better than chance.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from milr.rules import geneval
from milr.shapes.detector import ATTRIBUTES, ShapeDetection
from milr.shapes.grammar import NUMBER_WORDS, Phrase, Request, metadata
from milr.shapes.scenes import CELL, CELL_NAMES, GRID

Detections = Mapping[str, Sequence[ShapeDetection]]


def cell_of(detection: ShapeDetection) -> int:
    """The cell that holds the middle of an object's box."""
    left, top, right, bottom = detection.box
    return int((top + bottom) / 2 // CELL) * GRID + int((left + right) / 2 // CELL)


def description(detections: Detections) -> str:
    """Every object above GenEval's threshold in reading order, with all its attributes; "nothing" without any."""
    objects = in_reading_order(itertools.chain.from_iterable(detections.values()))
    return " , ".join(map(_object_text, objects)) or "nothing"


def comparison(detections: Detections, request: Request) -> str:
    """Each phrase with the objects of its shape and whether they fulfil it; then the relation."""
    parts = [_phrase_comparison(detections, phrase) for phrase in request.phrases]
    if request.relation:
        first, second = (_matches(detections, phrase) for phrase in request.phrases)
        holds = bool(first and second) and request.relation in geneval.relations(first[0], second[0])
        parts.append(f"{request.relation} {'yes' if holds else 'no'}")
    return " , ".join(parts)


def verdict(detections: Detections, request: Request, text: str) -> str:
    """ "yes" where every fact that the question `text` states holds by GenEval's rules, else "no"."""
    return "yes" if geneval.judge(detections, metadata(request, text), ATTRIBUTES).correct else "no"


def in_reading_order(detections: Iterable[ShapeDetection]) -> list[ShapeDetection]:
    """The detections above GenEval's threshold, by cell."""
    objects = [detection for detection in detections if detection.score > geneval.THRESHOLD]
    return sorted(objects, key=lambda detection: (cell_of(detection), detection.shape))


def _object_text(detection: ShapeDetection) -> str:
    """ "star red solid large a1" """
    return (f"{detection.shape} {detection.colour or 'grey'} {detection.fill} {detection.size} "
            f"{CELL_NAMES[cell_of(detection)]}")  # fmt: skip


def _phrase_comparison(detections: Detections, phrase: Phrase) -> str:
    """ "red star : star red solid large a1 yes" """
    words = (NUMBER_WORDS[phrase.count] if phrase.count > 1 else None, phrase.size, phrase.fill, phrase.colour)
    objects = [_object_text(detection) for detection in in_reading_order(detections.get(phrase.shape, ()))]
    matches = len(_matches(detections, phrase))
    fulfilled = matches == phrase.count if phrase.count > 1 else matches > 0
    return " ".join([*filter(None, words), phrase.shape, ":", *objects, "yes" if fulfilled else "no"])


def _matches(detections: Detections, phrase: Phrase) -> list[ShapeDetection]:
    """The objects with the phrase's shape and attributes."""
    required = {"colour": phrase.colour, "size": phrase.size, "fill": phrase.fill}
    return [detection for detection in in_reading_order(detections.get(phrase.shape, ()))
            if all(value in (None, getattr(detection, name)) for name, value in required.items())]  # fmt: skip
