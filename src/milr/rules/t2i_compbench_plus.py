"""The two rules that T2I-CompBench++ adds (arXiv 2307.06350v3; Karine-Huang/T2I-CompBench 1b70949): how many, how deep.

They are written from a description of the tool, whose file for depth has a non-commercial header. Quirks that are known
of it are reproduced, and the docstrings name them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from milr.rules.geneval import Box, Detection
from milr.rules.t2i_compbench import Token, iou

NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}
LABELS = {"boy": "person", "girl": "person", "man": "person", "woman": "person", "ship": "boat", "telivision": "tv",
          "goldfish": "fish", "painting": "picture"}  # what a detector is told to look for  # fmt: skip
IRREGULAR = {"men": "man", "women": "woman", "people": "person", "children": "child", "mice": "mouse",
             "geese": "goose", "feet": "foot", "teeth": "tooth", "knives": "knife", "wolves": "wolf", "leaves": "leaf",
             "shelves": "shelf", "loaves": "loaf", "scarves": "scarf", "calves": "calf", "halves": "half",
             "glasses": "glasses", "axes": "axe", "movies": "movie", "cookies": "cookie"}  # fmt: skip
COVERED = 0.9  # of two boxes' union, or of one of them, from which the second box is the first one once more
RELATIONS = ("in front of", "behind", "hidden")
FRAME = 480  # pixels, both sides of the depth map and of the boxes in it
FULL_IOU = 0.5  # overlap above which a depth relation counts whole


@dataclass(frozen=True)
class Counted:
    """An object of a prompt in the singular, and how many of it are asked for."""

    name: str
    count: int

    @property
    def label(self) -> str:
        """What a detector is told to look for."""
        return LABELS.get(self.name, self.name)


def counted_objects(tokens: Sequence[Token]) -> tuple[Counted, ...]:
    """The objects of a numeracy prompt: a number word and the one or two nouns that follow it at once.

    Deviation: the official tool takes the words that are in its list of objects, singular or plural.
    """
    found = []
    for start, token in enumerate(tokens):
        if count := NUMBERS.get(token.text.lower()):
            nouns: list[str] = []
            for following in tokens[start + 1 : start + 3]:
                if following.pos not in ("NOUN", "PROPN"):
                    break
                nouns.append(following.text.lower())
            if nouns:
                found.append(Counted(" ".join([*nouns[:-1], singular(nouns[-1])]), count))
    return tuple(found)


def singular(noun: str) -> str:
    """A noun without the ending of its plural; irregular ones are in a list."""
    if noun in IRREGULAR:
        return IRREGULAR[noun]
    if noun.endswith("ies") and len(noun) > 4:
        return f"{noun[:-3]}y"
    if noun.endswith(("sses", "shes", "ches", "xes", "zes", "toes")) or noun.endswith("buses"):
        return noun[:-2]
    return noun[:-1] if noun.endswith("s") and not noun.endswith(("ss", "us", "is")) else noun


def distinct(detections: Sequence[Detection]) -> list[Detection]:
    """The boxes of one label, best first, without those that are an earlier one once more.

    A box goes where its overlap with a kept one is above 0.9 of their union, or of either of them.
    """
    kept: list[Detection] = []
    for detection in sorted(detections, key=lambda one: -one.score):
        if not any(_same(detection.box, other.box) for other in kept):
            kept.append(detection)
    return kept


def _same(first: Box, second: Box) -> bool:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return False
    shared = width * height
    return iou(first, second) > COVERED or any(shared / _area(box) > COVERED for box in (first, second))


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def numeracy_score(objects: Sequence[Counted], found: Mapping[str, int]) -> float:
    """The mean over the objects: half for being there, half for the asked number exactly; `found` counts each label.

    ValueError without an object, where the official tool divides by zero.
    """
    if not objects:
        raise ValueError("a numeracy prompt has at least one counted object")
    seen = [(found.get(one.label, 0), one.count) for one in objects]
    return sum(0.5 * (number > 0) + 0.5 * (number == wanted) for number, wanted in seen) / len(seen)


def depth_relation(prompt: str) -> str:
    """The first of RELATIONS that the prompt contains; "" where it contains none."""
    return next((relation for relation in RELATIONS if relation in prompt), "")


def eight_bits(depth: np.ndarray) -> np.ndarray:
    """A depth map (H, W) stretched to whole numbers from 0, the farthest, to 255; a flat one is 0 everywhere."""
    low, high = float(depth.min()), float(depth.max())
    if high <= low:
        return np.zeros(depth.shape, np.uint8)
    return ((depth - low) / (high - low) * 255).astype(np.uint8)


def mean_depth(depth: np.ndarray, box: Box) -> float:
    """The mean of the depth map (480, 480) inside a box (x1, y1, x2, y2) of its pixels; 0 where the box holds none.

    Quirk: the map is indexed with x for its rows and y for its columns, as the official tool does.
    """
    x1, y1, x2, y2 = (min(max(int(side), 0), FRAME) for side in box)
    inside = depth[x1:x2, y1:y2]
    return float(inside.mean()) if inside.size else 0.0


def depth_position(relation: str, nearer: float, overlap: float) -> float:
    """How well two objects stand in a relation, in [0, 1]; `nearer` is by how much the first one is in front.

    Quirk: an overlap (intersection over union) of exactly 0.5 gives 0, as one of 0 does.
    """
    if relation in RELATIONS[1:]:
        nearer = -nearer
    if relation not in RELATIONS or nearer <= 0:
        return 0.0
    if overlap > FULL_IOU:
        return 1.0
    return overlap / FULL_IOU if 0 < overlap < FULL_IOU else 0.0


def depth_score(first: Detection | None, second: Detection | None, position: float) -> float:
    """A quarter of each object's confidence, and half the position where both are there, in [0, 1]."""
    value = sum(0.25 * detection.score for detection in (first, second) if detection)
    return value + (0.5 * position if first and second else 0.0)
