"""The prompts of the embedded world: free text to a request and its GenEval metadata, and a request back to text."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any

from milr.shapes.riddles import COLOUR_ANSWERS, NUMBER_ANSWERS, SHAPE_ANSWERS
from milr.shapes.scenes import COLOURS, FILLS, SHAPES, SIZES
from milr.types import Prompt

CATEGORIES = ("single_object", "two_object", "counting", "colors", "position", "color_attr",
              "color_position", "binding", "knowledge")  # fmt: skip
HARD = ("described", "described_position", "described_count")  # strict, and rare in training
INTRODUCTIONS = ("a photo of", "a picture of", "an image of", "a drawing of")
NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4}
NUMBER_WORDS = {number: word for word, number in NUMBERS.items()}
RELATIONS = {
    "left of": "left of", "to the left of": "left of", "on the left of": "left of",
    "right of": "right of", "to the right of": "right of", "on the right of": "right of",
    "above": "above", "over": "above", "below": "below", "under": "below",
}  # fmt: skip
PLURALS = {shape: "crosses" if shape == "cross" else "hourglasses" if shape == "hourglass" else f"{shape}s"
           for shape in SHAPES}  # fmt: skip
SINGULARS = {plural: shape for shape, plural in PLURALS.items()}
_ATTRIBUTES = (("size", SIZES), ("fill", FILLS), ("colour", COLOURS))


@dataclass(frozen=True)
class Phrase:
    """The part of a prompt about objects of one kind, such as "three red stars"; None: the attribute is not stated."""

    shape: str
    colour: str | None = None
    size: str | None = None
    fill: str | None = None
    count: int = 1


@dataclass(frozen=True)
class Request:
    """What a prompt asks for: one or two phrases, the first in `relation` to the second.

    `riddle` marks knowledge prompts, which name shape, colour or number by a riddle (riddles.py).
    """

    phrases: tuple[Phrase, ...]
    relation: str | None = None
    riddle: bool = False

    @property
    def category(self) -> str:
        """The benchmark category that judges this request."""
        if self.riddle:
            return "knowledge"
        if all(phrase.colour and phrase.size and phrase.fill for phrase in self.phrases):
            if len(self.phrases) > 1:
                return "described_position" if self.relation else "described"
            if self.phrases[0].count > 1:
                return "described_count"
        if any(phrase.size or phrase.fill for phrase in self.phrases):
            return "binding"
        coloured = any(phrase.colour for phrase in self.phrases)
        if self.relation:
            return "color_position" if coloured else "position"
        if len(self.phrases) > 1:
            return "color_attr" if coloured else "two_object"
        if self.phrases[0].count > 1:
            return "counting"
        return "colors" if coloured else "single_object"


def metadata(request: Request, text: str) -> dict[str, Any]:
    """GenEval's clauses; `size` and `fill` are our own attributes in the same place as `color`.

    With a relation clause 0 is the anchor (the second phrase) and clause 1 the first phrase. A counted phrase excludes
    one object more.
    """
    clauses = [_clause(phrase) for phrase in request.phrases]
    if request.relation:
        clauses.reverse()
        clauses[1]["position"] = [request.relation, 0]
    geneval: dict[str, Any] = {"tag": request.category, "include": clauses, "prompt": text}
    counted = [phrase for phrase in request.phrases if phrase.count > 1]
    if counted:
        geneval["exclude"] = [{"class": phrase.shape, "count": phrase.count + 1} for phrase in counted]
    return geneval


def _clause(phrase: Phrase) -> dict[str, Any]:
    clause: dict[str, Any] = {"class": phrase.shape, "count": phrase.count}
    attributes = {"color": phrase.colour, "size": phrase.size, "fill": phrase.fill}
    return clause | {name: value for name, value in attributes.items() if value}


def to_prompt(text: str, identity: str = "") -> Prompt | None:
    """The prompt with category and metadata, or None where the grammar cannot read it."""
    request = parse(text)
    if request is None:
        return None
    return Prompt(text, identity, request.category, metadata(request, text))


@functools.lru_cache(maxsize=2**14)  # a run reads each of its prompts several times
def parse(text: str) -> Request | None:
    """Free text to a request; None when any part of it is outside the grammar.

    Two phrases about the same shape are outside, too: GenEval's rules could not tell their objects apart.
    """
    words = " ".join(re.findall(r"[a-z]+", text.lower()))
    for introduction in INTRODUCTIONS:
        words = words.removeprefix(introduction + " ")
    riddle = _parse_riddle(words)
    if riddle:
        return Request((riddle,), riddle=True)
    left, relation, right = _split(words)
    phrases = tuple(_parse_phrase(part.split()) for part in (left, right) if part is not None)
    read = tuple(phrase for phrase in phrases if phrase)
    if len(read) < len(phrases) or len({phrase.shape for phrase in read}) < len(read):
        return None
    return Request(read, relation)


def _split(words: str) -> tuple[str, str | None, str | None]:
    """The text of the first phrase, the relation (None: none), and the text of the second phrase (None: one phrase)."""
    for wording in sorted(RELATIONS, key=len, reverse=True):
        left, separator, right = words.partition(f" {wording} ")
        if separator:
            return left, RELATIONS[wording], right
    left, separator, right = words.partition(" and ")
    return left, None, right if separator else None


def _parse_phrase(words: list[str]) -> Phrase | None:
    count = 1
    if words and words[0] in ("a", "an", "the"):
        words = words[1:]
    elif words and words[0] in NUMBERS:
        count, words = NUMBERS[words[0]], words[1:]
    if not words:
        return None
    shape = words[-1] if count == 1 else SINGULARS.get(words[-1], words[-1])
    if shape not in SHAPES:
        return None
    attributes: dict[str, str] = {}
    for word in words[:-1]:
        attribute = next((name for name, values in _ATTRIBUTES if word in values), None)
        if attribute is None or attribute in attributes:
            return None
        attributes[attribute] = word
    return Phrase(shape, count=count, **attributes)


def _parse_riddle(words: str) -> Phrase | None:
    counted = re.fullmatch(r"as many (\w+) as (.+)", words)
    if counted:
        shape, number = SINGULARS.get(counted[1]), NUMBER_ANSWERS.get(counted[2])
        return Phrase(shape, count=number) if shape and number else None
    subject, separator, colour_riddle = words.partition(" in the colour of ")
    colour = COLOUR_ANSWERS.get(colour_riddle)
    if separator and not colour:
        return None
    shape = SHAPE_ANSWERS.get(subject)
    if shape:
        return Phrase(shape, colour)
    phrase = _parse_phrase(subject.split()) if separator else None
    return Phrase(phrase.shape, colour) if phrase and phrase == Phrase(phrase.shape) else None


def phrase_text(phrase: Phrase) -> str:
    """The phrase as text: "a small striped red star", "three hearts"."""
    attributes = [word for word in (phrase.size, phrase.fill, phrase.colour) if word]
    noun = phrase.shape if phrase.count == 1 else PLURALS[phrase.shape]
    if phrase.count > 1:
        return " ".join([NUMBER_WORDS[phrase.count], *attributes, noun])
    return with_article(" ".join([*attributes, noun]))


def with_article(words: str) -> str:
    """ "a star", "an orange star", "an hourglass" """
    return f"an {words}" if words[0] in "aeiou" or words.startswith("hour") else f"a {words}"


def to_text(request: Request) -> str:
    """A request without riddles as text, in GenEval's wording but without its introduction."""
    separator = f" {request.relation} " if request.relation else " and "
    return separator.join(phrase_text(phrase) for phrase in request.phrases)
