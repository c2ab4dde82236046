"""T2I-CompBench's scoring rules (Karine-Huang/T2I-CompBench 1b70949), pure: words and answers in, scores out.

Attributes: a yes/no question for each noun chunk, and the product of the answers. Spatial relations: two nouns, their
boxes in a frame of 479 pixels, and how one lies to the other. Complex prompts: the mean of what their list asks for.
Quirks that the published numbers contain are kept, and said where they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from milr.rules.geneval import Box, Detection

DROPPED_CHUNKS = ("top", "the side", "the left", "the right")
MOST_QUESTIONS = 8
MOST_WORDS = 50  # of one question
DECIMALS = 4
SHORT_SIDE, LONG_SIDE = 479, 480  # of the frame in which positions are judged
NEAR = 150  # pixels of that frame
OVERLAPPING = 0.1  # intersection over union from which a direction counts less
FLOOR = 0.5  # spatial scores below it are 0
PERSON = "person"
PEOPLE = ("girl", "boy", "man", "woman")  # looked for as PERSON
BESIDE = ("next to", "on side of", "near")
LOCALITIES = ("on side of", "next to", "near", "on the left of", "on the right of", "on the bottom of",
              "on the top of", "on top of")  # fmt: skip
RELATIONS = ("on top of", "on bottom of", "on the left", "on the right", "next to", "on side of", "near")
# Nouns of the spatial prompts that equal none of UniDet's labels ("cattle, cow"); they are in 100 of the 300 prompts.
UNFINDABLE = frozenset({"wallet", "mouse", "cow", "table", "phone", "sofa", "bag", "painting", "computer"})
_DELETED = str.maketrans("", "", '.!"()*#:;~')
Pair = tuple[str, str]


@dataclass(frozen=True)
class Token:
    """A word of a prompt with its coarse part of speech (NOUN, PROPN, ADJ, ...)."""

    text: str
    pos: str


@dataclass(frozen=True)
class Parsed:
    """A parsed prompt: its tokens, and its noun chunks as they stand in the text."""

    tokens: tuple[Token, ...]
    chunks: tuple[str, ...]


def questions(chunks: Sequence[str]) -> list[str]:
    """What is asked about a picture: "a red car?", for the first eight chunks that are no mere places."""
    asked = [chunk for chunk in chunks if chunk not in DROPPED_CHUNKS][:MOST_QUESTIONS]
    return [_cleaned(f"{chunk}?") for chunk in asked]


def _cleaned(question: str) -> str:
    kept = question.lower().translate(_DELETED).rstrip(" ")
    return " ".join(kept.split(" ")[:MOST_WORDS])


def product(answers: Sequence[float]) -> float:
    """P(yes) of each question, rounded to four decimals, multiplied in float32 and rounded; no question: 1."""
    value = np.float32(1)
    for answer in answers:
        value *= np.float32(round(answer, DECIMALS))
    return round(float(value), DECIMALS)


def outer_nouns(tokens: Sequence[Token]) -> Pair | None:
    """The two objects of a spatial prompt: its first and its last noun; None where it has no noun."""
    nouns = [token.text for token in tokens if token.pos == "NOUN"]
    return (nouns[0], nouns[-1]) if nouns else None


def related_nouns(tokens: Sequence[Token]) -> Pair | None:
    """The two objects of a complex prompt: those around its RELATIONS; None unless these give exactly two words.

    A relation gives the nearest noun or proper noun before it, and the first noun after it; for want of a noun after
    it, the first proper noun there that another kind of word follows.
    """
    words: list[str] = []
    for place in range(len(tokens)):
        if length := _relation_at(tokens, place):
            words += _before(tokens[:place]) + _after(tokens[place + length :])
    return (words[0], words[1]) if len(words) == 2 else None


def _relation_at(tokens: Sequence[Token], place: int) -> int:
    """The length in tokens of the relation that starts here, the longest first; 0 where none does."""
    for length in (3, 2, 1):
        if " ".join(token.text for token in tokens[place : place + length]) in RELATIONS:
            return length
    return 0


def _before(tokens: Sequence[Token]) -> list[str]:
    return [token.text for token in reversed(tokens) if token.pos in ("NOUN", "PROPN")][:1]


def _after(tokens: Sequence[Token]) -> list[str]:
    nouns = [token.text for token in tokens if token.pos == "NOUN"]
    ends = [token.text for token, following in pairwise(tokens) if token.pos == "PROPN" and following.pos != "PROPN"]
    return (nouns or ends)[:1]


def locality(prompt: str) -> str:
    """The first of LOCALITIES that the prompt contains, wherever it stands; "" where it contains none."""
    return next((words for words in LOCALITIES if words in prompt), "")


def label_of(word: str) -> str:
    """What a detector looks for: "person" for people, else the word."""
    return PERSON if word in PEOPLE else word


def found(word: str, detections: Mapping[str, Sequence[Detection]], *, strict: bool = False) -> Detection | None:
    """The most confident detection whose label equals the word; `strict`: none of what UniDet can never find."""
    if strict and word in UNFINDABLE:
        return None
    return max(detections.get(label_of(word), ()), key=lambda one: one.score, default=None)


def frame_of(width: int, height: int) -> tuple[int, int]:
    """Width and height of the frame for a picture: shorter side 479, unless the longer would pass 480."""
    scale = min(SHORT_SIDE / min(width, height), LONG_SIDE / max(width, height))
    return int(width * scale + 0.5), int(height * scale + 0.5)


def overlap(first: Box, second: Box) -> float:
    """Intersection over union of two boxes (x1, y1, x2, y2)."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (_area(first) + _area(second) - width * height)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def position(relation: str, first: Box, second: Box) -> float:
    """How well `first` stands in `relation` (one of LOCALITIES) to `second`, in [0, 1]; y grows downwards.

    Quirks: side by side is near enough along either axis alone; "on top of" is known to nobody here, and gives 0.
    """
    x = (second[0] + second[2] - first[0] - first[2]) / 2
    y = (second[1] + second[3] - first[1] - first[3]) / 2
    across, down = abs(x), abs(y)
    if relation in BESIDE:
        return 1.0 if across < NEAR or down < NEAR else NEAR / max(across, down)
    held = {
        "on the left of": x > 0 and across > down, "on the right of": x < 0 and across > down,
        "on the top of": y > 0 and down > across, "on the bottom of": y < 0 and down > across,
    }  # fmt: skip
    if not held.get(relation, False):
        return 0.0
    shared = overlap(first, second)
    return 1.0 if shared < OVERLAPPING else OVERLAPPING / shared


def spatial_score(first: Detection | None, second: Detection | None, relation: str) -> float:
    """A quarter of each object's confidence and half the position; 0 below 0.5, so one object alone is never enough."""
    value = sum(0.25 * one.score for one in (first, second) if one)
    if first and second:
        value += 0.5 * position(relation, first.box, second.box)
    return value if value >= FLOOR else 0.0


def without_adjectives(tokens: Sequence[Token]) -> str:
    """The text that the action part of a complex prompt is compared with."""
    return " ".join(token.text for token in tokens if token.pos != "ADJ")


def normalised(line: str) -> str:
    """A prompt as the complex lists are searched for it: up to its first full stop, in lower case."""
    return line.partition(".")[0].lower()


def complex_parts(lists: Sequence[str]) -> tuple[str, ...]:
    """The parts whose plain mean is a complex prompt's score, by the lists it is in ("spatial", "action").

    Quirk: a prompt that is in neither has all three.
    """
    if "spatial" in lists:
        return ("attribute", "spatial")
    if "action" in lists:
        return ("attribute", "action")
    return ("attribute", "spatial", "action")
