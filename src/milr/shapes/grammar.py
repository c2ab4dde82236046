"""What can be said about the embedded world: free text to a request and its GenEval metadata, and back."""

from __future__ import annotations

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
    """Objects of one kind; None leaves an attribute open."""

    shape: str
    colour: str | None = None
    size: str | None = None
    fill: str | None = None
    count: int = 1


@dataclass(frozen=True)
class Request:
    """What a prompt asks for: phrase 0 stands in `relation` to phrase 1. `riddle` marks knowledge prompts."""

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

    With a relation the anchor is clause 0 and the placed object clause 1. A counted phrase excludes one more.
    """
    clauses = [_clause(phrase) for phrase in request.phrases]
    if request.relation:
        clauses.reverse()
        clauses[1]["position"] = [request.relation, 0]
    wanted: dict[str, Any] = {"tag": request.category, "include": clauses, "prompt": text}
    counted = [phrase for phrase in request.phrases if phrase.count > 1]
    if counted:
        wanted["exclude"] = [{"class": phrase.shape, "count": phrase.count + 1} for phrase in counted]
    return wanted


def _clause(phrase: Phrase) -> dict[str, Any]:
    clause: dict[str, Any] = {"class": phrase.shape, "count": phrase.count}
    named = (("color", phrase.colour), ("size", phrase.size), ("fill", phrase.fill))
    return clause | {name: value for name, value in named if value}


def to_prompt(text: str, identity: str = "") -> Prompt | None:
    """The prompt with category and metadata, or None where the grammar cannot read it."""
    request = parse(text)
    if request is None:
        return None
    return Prompt(text, identity, request.category, metadata(request, text))


def parse(text: str) -> Request | None:
    """Free text to a request; None when any part of it is outside the grammar.

    Two phrases about one shape are outside: GenEval's rules could not tell their objects apart.
    """
    words = " ".join(re.findall(r"[a-z]+", text.lower()))
    for introduction in INTRODUCTIONS:
        words = words.removeprefix(introduction + " ")
    riddle = _parse_riddle(words)
    if riddle:
        return Request((riddle,), riddle=True)
    left, relation, right = _split(words)
    phrases = tuple(_parse_phrase(part.split()) for part in (left, right) if part is not None)
    known = tuple(phrase for phrase in phrases if phrase)
    if len(known) < len(phrases) or len({phrase.shape for phrase in known}) < len(known):
        return None
    return Request(known, relation)


def _split(words: str) -> tuple[str, str | None, str | None]:
    for said in sorted(RELATIONS, key=len, reverse=True):
        left, found, right = words.partition(f" {said} ")
        if found:
            return left, RELATIONS[said], right
    left, found, right = words.partition(" and ")
    return left, None, right if found else None


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
    said: dict[str, str] = {}
    for word in words[:-1]:
        kind = next((name for name, values in _ATTRIBUTES if word in values), None)
        if kind is None or kind in said:
            return None
        said[kind] = word
    return Phrase(shape, count=count, **said)


def _parse_riddle(words: str) -> Phrase | None:
    counted = re.fullmatch(r"as many (\w+) as (.+)", words)
    if counted:
        shape, number = SINGULARS.get(counted[1]), NUMBER_ANSWERS.get(counted[2])
        return Phrase(shape, count=number) if shape and number else None
    what, coloured, thing = words.partition(" in the colour of ")
    colour = COLOUR_ANSWERS.get(thing)
    if coloured and not colour:
        return None
    shape = SHAPE_ANSWERS.get(what)
    if shape:
        return Phrase(shape, colour)
    plain = _parse_phrase(what.split()) if coloured else None
    return Phrase(plain.shape, colour) if plain and plain == Phrase(plain.shape) else None


def describe(phrase: Phrase) -> str:
    """A phrase in words: "a small striped red star", "three hearts"."""
    attributes = [word for word in (phrase.size, phrase.fill, phrase.colour) if word]
    noun = phrase.shape if phrase.count == 1 else PLURALS[phrase.shape]
    if phrase.count > 1:
        return " ".join([NUMBER_WORDS[phrase.count], *attributes, noun])
    return with_article(" ".join([*attributes, noun]))


def with_article(words: str) -> str:
    """ "a star", "an orange star", "an hourglass" """
    return f"an {words}" if words[0] in "aeiou" or words.startswith("hour") else f"a {words}"


def say(request: Request, relation: str | None = None) -> str:
    """A request without riddles in words, GenEval's way; `relation` picks another wording of the same relation."""
    parts = [describe(phrase) for phrase in request.phrases]
    joint = f" {relation or request.relation} " if request.relation else " and "
    return joint.join(parts)
