"""Prompts of the embedded world, drawn at random by category; what a split holds out is never drawn for training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from milr.shapes.grammar import INTRODUCTIONS, PLURALS, RELATIONS, Phrase, Request, say, with_article
from milr.shapes.riddles import COLOUR_RIDDLES, NUMBER_RIDDLES, SHAPE_RIDDLES
from milr.shapes.scenes import COLOURS, FILLS, SHAPES, SIZES

Draw = Callable[[np.random.Generator], tuple[Request, str]]
CANONICAL = ("left of", "right of", "above", "below")


def pick(rng: np.random.Generator, options: object) -> str:
    """One of the names, all equally likely."""
    return str(rng.choice(list(options)))  # type: ignore[call-overload]


def _two_shapes(rng: np.random.Generator) -> list[str]:
    return [str(shape) for shape in rng.choice(SHAPES, 2, replace=False)]


def _spoken(request: Request) -> tuple[Request, str]:
    return request, say(request)


def single_object(rng: np.random.Generator) -> tuple[Request, str]:
    """ "a star" """
    return _spoken(Request((Phrase(pick(rng, SHAPES)),)))


def two_object(rng: np.random.Generator) -> tuple[Request, str]:
    """ "a star and a heart" """
    return _spoken(Request(tuple(Phrase(shape) for shape in _two_shapes(rng))))


def counting(rng: np.random.Generator) -> tuple[Request, str]:
    """ "three stars" """
    return _spoken(Request((Phrase(pick(rng, SHAPES), count=int(rng.integers(2, 5))),)))


def colors(rng: np.random.Generator) -> tuple[Request, str]:
    """ "a red star" """
    return _spoken(Request((Phrase(pick(rng, SHAPES), pick(rng, COLOURS)),)))


def position(rng: np.random.Generator) -> tuple[Request, str]:
    """ "a star left of a heart" """
    return _spoken(Request(tuple(Phrase(shape) for shape in _two_shapes(rng)), pick(rng, CANONICAL)))


def _coloured_pair(rng: np.random.Generator) -> tuple[Phrase, ...]:
    colours = rng.choice(list(COLOURS), 2, replace=False)
    return tuple(Phrase(shape, str(colour)) for shape, colour in zip(_two_shapes(rng), colours, strict=True))


def color_attr(rng: np.random.Generator) -> tuple[Request, str]:
    """ "a red star and a blue heart" """
    return _spoken(Request(_coloured_pair(rng)))


def color_position(rng: np.random.Generator) -> tuple[Request, str]:
    """ "a red star left of a blue heart" """
    return _spoken(Request(_coloured_pair(rng), pick(rng, CANONICAL)))


def binding(rng: np.random.Generator) -> tuple[Request, str]:
    """ "a small red star and a striped heart": at least one size or fill in every phrase."""
    phrases = []
    for shape in _two_shapes(rng):
        kinds = rng.choice(["size", "fill", "both"], p=[0.35, 0.35, 0.3])
        colour = pick(rng, COLOURS) if rng.random() < 0.4 else None
        size = pick(rng, SIZES) if kinds != "fill" else None
        fill = pick(rng, FILLS) if kinds != "size" else None
        phrases.append(Phrase(shape, colour, size, fill))
    alone = rng.random() < 0.3
    return _spoken(Request(tuple(phrases[:1] if alone else phrases)))


def _described_pair(rng: np.random.Generator) -> tuple[Phrase, ...]:
    return tuple(replace(phrase, size=pick(rng, SIZES), fill=pick(rng, FILLS)) for phrase in _coloured_pair(rng))


def described(rng: np.random.Generator) -> tuple[Request, str]:
    """ "a small striped red star and a large solid blue heart" """
    return _spoken(Request(_described_pair(rng)))


def described_position(rng: np.random.Generator) -> tuple[Request, str]:
    """ "a small striped red star above a large solid blue heart" """
    return _spoken(Request(_described_pair(rng), pick(rng, CANONICAL)))


def described_count(rng: np.random.Generator) -> tuple[Request, str]:
    """ "three small striped red stars" """
    phrase = replace(_described_pair(rng)[0], count=int(rng.integers(2, 5)))
    return _spoken(Request((phrase,)))


def knowledge(rng: np.random.Generator) -> tuple[Request, str]:
    """ "the shape with three sides in the colour of grass" """
    shape, colour = pick(rng, SHAPES), pick(rng, COLOURS)
    form = rng.choice(["both", "shape", "colour", "number"], p=[0.5, 0.1, 0.2, 0.2])
    if form == "number":
        number = int(rng.integers(2, 5))
        text = f"as many {PLURALS[shape]} as {pick(rng, NUMBER_RIDDLES[number])}"
        return Request((Phrase(shape, count=number),), riddle=True), text
    what = with_article(shape) if form == "colour" else pick(rng, SHAPE_RIDDLES[shape])
    if form == "shape":
        return Request((Phrase(shape),), riddle=True), what
    text = f"{what} in the colour of {pick(rng, COLOUR_RIDDLES[colour])}"
    return Request((Phrase(shape, colour),), riddle=True), text


DRAWS: dict[str, Draw] = {draw.__name__: draw for draw in (single_object, two_object, counting, colors, position,
                                                           color_attr, color_position, binding, knowledge)}  # fmt: skip
HARD_DRAWS: dict[str, Draw] = {draw.__name__: draw for draw in (described, described_position, described_count)}
SHARES = {"single_object": 0.08, "two_object": 0.10, "counting": 0.14, "colors": 0.14, "position": 0.10,
          "color_attr": 0.14, "color_position": 0.12, "binding": 0.10, "knowledge": 0.08}  # fmt: skip
BARE_SHARES = SHARES | {"color_attr": 0.20, "knowledge": 0.02}  # riddles are for thinking, not for drawing unthought


def varied(text: str, rng: np.random.Generator) -> str:
    """The same prompt in another wording: introduction and relation."""
    for relation in CANONICAL:
        if f" {relation} " in text and rng.random() < 0.3:
            other = pick(rng, [said for said, meant in RELATIONS.items() if meant == relation])
            text = text.replace(f" {relation} ", f" {other} ")
    if rng.random() < 0.2:
        return text
    introduction = INTRODUCTIONS[0] if rng.random() < 0.6 else pick(rng, INTRODUCTIONS)
    return f"{introduction} {text}"


def training_prompt(rng: np.random.Generator, held_out: Callable[[Request], bool],
                    shares: Mapping[str, float] = SHARES) -> tuple[Request, str]:  # fmt: skip
    """One training request with its text; a request that is held out is drawn again."""
    while True:
        category = str(rng.choice(list(shares), p=list(shares.values())))
        request, text = (DRAWS | HARD_DRAWS)[category](rng)
        if category in ("counting", "binding") and rng.random() < 0.25:
            request, text = _coloured_or_related(request, rng)
        if not held_out(request):
            return request, varied(text, rng)


def _coloured_or_related(request: Request, rng: np.random.Generator) -> tuple[Request, str]:
    """Free text goes further than the benchmark: "three red stars", "a small star above a striped heart"."""
    first, *rest = request.phrases
    if rest:
        return _spoken(Request(request.phrases, pick(rng, CANONICAL)))
    size = first.size or (pick(rng, SIZES) if rng.random() < 0.3 else None)
    return _spoken(Request((Phrase(first.shape, pick(rng, COLOURS), size, first.fill, first.count),)))
