"""T2I-CompBench's scoring rules (arXiv 2307.06350; Karine-Huang/T2I-CompBench 1b70949), pure.

Attributes: a yes/no question for each noun chunk, and the product of the answers. Spatial relations: two nouns, their
boxes in a frame of 479 pixels, and how one lies to the other. Complex prompts: the mean of what their list asks for.
Quirks that the published numbers contain are reproduced, and the docstrings name them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from milr.rules.geneval import Box, Detection

DROPPED_CHUNKS = ("top", "the side", "the left", "the right")
MAX_QUESTIONS = 8
MAX_WORDS = 50  # of one question
DECIMALS = 4
SHORT_SIDE, LONG_SIDE = 479, 480  # of the frame in which positions are judged
NEAR = 150  # pixels of that frame within which two centres are near
MAX_FULL_IOU = 0.1  # intersection over union from which a direction counts less
MIN_SPATIAL_SCORE = 0.5  # spatial scores below it are 0
PERSON = "person"
PEOPLE = ("girl", "boy", "man", "woman")  # detected as PERSON
BESIDE = ("next to", "on side of", "near")
LOCALITIES = ("on side of", "next to", "near", "on the left of", "on the right of", "on the bottom of",
              "on the top of", "on top of")  # fmt: skip
RELATIONS = ("on top of", "on bottom of", "on the left", "on the right", "next to", "on side of", "near")
# Nouns of the spatial prompts that equal none of UniDet's labels ("cattle, cow"), in 100 of the 300 prompts.
UNDETECTABLE = frozenset({"wallet", "mouse", "cow", "table", "phone", "sofa", "bag", "painting", "computer"})
_DELETED = str.maketrans("", "", '.!"()*#:;~')
Pair = tuple[str, str]


@dataclass(frozen=True)
class Token:
    """A word of a prompt with its coarse part of speech (NOUN, PROPN, ADJ, ...)."""

    text: str
    pos: str


@dataclass(frozen=True)
class ParsedPrompt:
    """A parsed prompt: its tokens, and its noun chunks as they are spelled in the text."""

    tokens: tuple[Token, ...]
    chunks: tuple[str, ...]


def questions(chunks: Sequence[str]) -> list[str]:
    """The questions about a picture, such as "a red car?".

    There is one for each noun chunk but DROPPED_CHUNKS, and at most eight.
    """
    objects = [chunk for chunk in chunks if chunk not in DROPPED_CHUNKS][:MAX_QUESTIONS]
    return [_clean(f"{chunk}?") for chunk in objects]


def _clean(question: str) -> str:
    """The question as BLIP's own preprocessing cleans it."""
    letters = question.lower().translate(_DELETED).rstrip(" ")
    return " ".join(letters.split(" ")[:MAX_WORDS])


def attribute_score(answers: Sequence[float]) -> float:
    """The product in [0, 1] of each question's P(yes); 1 where there is no question.

    The factors are rounded to four decimals and multiplied in float32, and the product is rounded again.
    """
    value = np.float32(1)
    for answer in answers:
        value *= np.float32(round(answer, DECIMALS))
    return round(float(value), DECIMALS)


def first_and_last_noun(tokens: Sequence[Token]) -> Pair | None:
    """The two objects of a spatial prompt: its first and its last noun; None where it has no noun."""
    nouns = [token.text for token in tokens if token.pos == "NOUN"]
    return (nouns[0], nouns[-1]) if nouns else None


def nouns_around_relation(tokens: Sequence[Token]) -> Pair | None:
    """The two objects of a complex prompt: those around its RELATIONS; None unless these give exactly two words.

    A relation gives the nearest noun or proper noun before it, and the first noun after it; for want of a noun after
    it, the first proper noun there that another kind of word follows.
    """
    words: list[str] = []
    for start in range(len(tokens)):
        if length := _relation_length(tokens, start):
            words += _noun_before(tokens[:start]) + _noun_after(tokens[start + length :])
    return (words[0], words[1]) if len(words) == 2 else None


def _relation_length(tokens: Sequence[Token], start: int) -> int:
    """The number of tokens of the longest relation that begins at `start`; 0 where none does."""
    for length in (3, 2, 1):
        if " ".join(token.text for token in tokens[start : start + length]) in RELATIONS:
            return length
    return 0


def _noun_before(tokens: Sequence[Token]) -> list[str]:
    return [token.text for token in reversed(tokens) if token.pos in ("NOUN", "PROPN")][:1]


def _noun_after(tokens: Sequence[Token]) -> list[str]:
    nouns = [token.text for token in tokens if token.pos == "NOUN"]
    ends = [token.text for token, following in pairwise(tokens) if token.pos == "PROPN" and following.pos != "PROPN"]
    return (nouns or ends)[:1]


def locality(prompt: str) -> str:
    """The first of LOCALITIES that the prompt contains anywhere, even within a word; "" where it contains none."""
    return next((phrase for phrase in LOCALITIES if phrase in prompt), "")


def detector_label(word: str) -> str:
    """The label under which a detector finds the word: "person" for people, else the word itself."""
    return PERSON if word in PEOPLE else word


def most_confident(
    word: str, detections: Mapping[str, Sequence[Detection]], *, strict: bool = False
) -> Detection | None:
    """The detection with the highest score whose label is that of the word; None where there is none.

    `strict` leaves the words undetected that UniDet can never detect.
    """
    if strict and word in UNDETECTABLE:
        return None
    return max(detections.get(detector_label(word), ()), key=lambda detection: detection.score, default=None)


def frame_size(width: int, height: int) -> tuple[int, int]:
    """Width and height in pixels of a picture's frame: shorter side 479, unless the longer would exceed 480."""
    scale = min(SHORT_SIDE / min(width, height), LONG_SIDE / max(width, height))
    return int(width * scale + 0.5), int(height * scale + 0.5)


def iou(first: Box, second: Box) -> float:
    """Intersection over union of two boxes (x1, y1, x2, y2)."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (_area(first) + _area(second) - width * height)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def position_score(relation: str, first: Box, second: Box) -> float:
    """How well `first` stands in `relation` (one of LOCALITIES) to `second`, in [0, 1]; y grows downwards.

    Quirks: two objects are beside each other when they are near along either axis alone; "on top of" gives 0, because
    only "on the top of" is judged.
    """
    dx = (second[0] + second[2] - first[0] - first[2]) / 2
    dy = (second[1] + second[3] - first[1] - first[3]) / 2
    across, down = abs(dx), abs(dy)
    if relation in BESIDE:
        return 1.0 if across < NEAR or down < NEAR else NEAR / max(across, down)
    holds = {
        "on the left of": dx > 0 and across > down, "on the right of": dx < 0 and across > down,
        "on the top of": dy > 0 and down > across, "on the bottom of": dy < 0 and down > across,
    }  # fmt: skip
    if not holds.get(relation, False):
        return 0.0
    overlap = iou(first, second)
    return 1.0 if overlap < MAX_FULL_IOU else MAX_FULL_IOU / overlap


def spatial_score(first: Detection | None, second: Detection | None, relation: str) -> float:
    """A quarter of each object's confidence plus half the position score, in [0, 1].

    Below 0.5 it is 0, so one object alone is never enough.
    """
    value = sum(0.25 * detection.score for detection in (first, second) if detection)
    if first and second:
        value += 0.5 * position_score(relation, first.box, second.box)
    return value if value >= MIN_SPATIAL_SCORE else 0.0


def without_adjectives(tokens: Sequence[Token]) -> str:
    """The text with which CLIP compares the picture for the action part of a complex prompt."""
    return " ".join(token.text for token in tokens if token.pos != "ADJ")


def list_key(line: str) -> str:
    """The form in which a prompt is looked up in the complex lists: up to its first full stop, in lower case."""
    return line.partition(".")[0].lower()


def complex_parts(lists: Sequence[str]) -> tuple[str, ...]:
    """The parts whose plain mean is a complex prompt's score, by the lists that contain it ("spatial", "action").

    Quirk: a prompt that neither of them contains has all three parts.
    """
    if "spatial" in lists:
        return ("attribute", "spatial")
    if "action" in lists:
        return ("attribute", "action")
    return ("attribute", "spatial", "action")
