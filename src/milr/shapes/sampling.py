"""Random prompts of the embedded world by category; for training never one that a split holds out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from milr.shapes.grammar import INTRODUCTIONS, PLURALS, RELATIONS, Phrase, Request, to_text, with_article
from milr.shapes.riddles import COLOUR_RIDDLES, NUMBER_RIDDLES, SHAPE_RIDDLES
from milr.shapes.scenes import COLOURS, FILLS, SHAPES, SIZES

Sampler = Callable[[np.random.Generator], tuple[Request, str]]
CANONICAL = ("left of", "right of", "above", "below")


def random_choice(rng: np.random.Generator, names: object) -> str:
    """One of the names, all equally likely."""
    return str(rng.choice(list(names)))  # type: ignore[call-overload]


def _two_shapes(rng: np.random.Generator) -> list[str]:
    return [str(shape) for shape in rng.choice(SHAPES, 2, replace=False)]


def _with_text(request: Request) -> tuple[Request, str]:
    """A sampler's result: the request and its text."""
    return request, to_text(request)


def single_object(rng: np.random.Generator) -> tuple[Request, str]:
    """ "a star" """
    return _with_text(Request((Phrase(random_choice(rng, SHAPES)),)))


def two_object(rng: np.random.Generator) -> tuple[Request, str]:
    """ "a star and a heart" """
    return _with_text(Request(tuple(Phrase(shape) for shape in _two_shapes(rng))))


def counting(rng: np.random.Generator) -> tuple[Request, str]:
    """ "three stars" """
    return _with_text(Request((Phrase(random_choice(rng, SHAPES), count=int(rng.integers(2, 5))),)))


def colors(rng: np.random.Generator) -> tuple[Request, str]:
    """ "a red star" """
    return _with_text(Request((Phrase(random_choice(rng, SHAPES), random_choice(rng, COLOURS)),)))


def position(rng: np.random.Generator) -> tuple[Request, str]:
    """ "a star left of a heart" """
    return _with_text(Request(tuple(Phrase(shape) for shape in _two_shapes(rng)), random_choice(rng, CANONICAL)))


def _coloured_pair(rng: np.random.Generator) -> tuple[Phrase, ...]:
    colours = rng.choice(list(COLOURS), 2, replace=False)
    return tuple(Phrase(shape, str(colour)) for shape, colour in zip(_two_shapes(rng), colours, strict=True))


def color_attr(rng: np.random.Generator) -> tuple[Request, str]:
    """ "a red star and a blue heart" """
    return _with_text(Request(_coloured_pair(rng)))


def color_position(rng: np.random.Generator) -> tuple[Request, str]:
    """ "a red star left of a blue heart" """
    return _with_text(Request(_coloured_pair(rng), random_choice(rng, CANONICAL)))


def binding(rng: np.random.Generator) -> tuple[Request, str]:
    """ "a small red star and a striped heart": at least one size or fill in every phrase."""
    phrases = []
    for shape in _two_shapes(rng):
        attributes = rng.choice(["size", "fill", "both"], p=[0.35, 0.35, 0.3])
        colour = random_choice(rng, COLOURS) if rng.random() < 0.4 else None
        size = random_choice(rng, SIZES) if attributes != "fill" else None
        fill = random_choice(rng, FILLS) if attributes != "size" else None
        phrases.append(Phrase(shape, colour, size, fill))
    first_only = rng.random() < 0.3
    return _with_text(Request(tuple(phrases[:1] if first_only else phrases)))


def _fully_described_pair(rng: np.random.Generator) -> tuple[Phrase, ...]:
    return tuple(
        replace(phrase, size=random_choice(rng, SIZES), fill=random_choice(rng, FILLS))
        for phrase in _coloured_pair(rng)
    )


def described(rng: np.random.Generator) -> tuple[Request, str]:
    """ "a small striped red star and a large solid blue heart" """
    return _with_text(Request(_fully_described_pair(rng)))


def described_position(rng: np.random.Generator) -> tuple[Request, str]:
    """ "a small striped red star above a large solid blue heart" """
    return _with_text(Request(_fully_described_pair(rng), random_choice(rng, CANONICAL)))


def described_count(rng: np.random.Generator) -> tuple[Request, str]:
    """ "three small striped red stars" """
    phrase = replace(_fully_described_pair(rng)[0], count=int(rng.integers(2, 5)))
    return _with_text(Request((phrase,)))


def knowledge(rng: np.random.Generator) -> tuple[Request, str]:
    """ "the shape with three sides in the colour of grass" """
    shape, colour = random_choice(rng, SHAPES), random_choice(rng, COLOURS)
    riddle = rng.choice(["both", "shape", "colour", "number"], p=[0.5, 0.1, 0.2, 0.2])
    if riddle == "number":
        number = int(rng.integers(2, 5))
        text = f"as many {PLURALS[shape]} as {random_choice(rng, NUMBER_RIDDLES[number])}"
        return Request((Phrase(shape, count=number),), riddle=True), text
    subject = with_article(shape) if riddle == "colour" else random_choice(rng, SHAPE_RIDDLES[shape])
    if riddle == "shape":
        return Request((Phrase(shape),), riddle=True), subject
    text = f"{subject} in the colour of {random_choice(rng, COLOUR_RIDDLES[colour])}"
    return Request((Phrase(shape, colour),), riddle=True), text


SAMPLERS: dict[str, Sampler] = {
    sampler.__name__: sampler
    for sampler in (single_object, two_object, counting, colors, position, color_attr, color_position, binding,
                    knowledge)
}  # fmt: skip
HARD_SAMPLERS: dict[str, Sampler] = {
    sampler.__name__: sampler for sampler in (described, described_position, described_count)
}
SHARES = {"single_object": 0.08, "two_object": 0.10, "counting": 0.14, "colors": 0.14, "position": 0.10,
          "color_attr": 0.14, "color_position": 0.12, "binding": 0.10, "knowledge": 0.08}  # fmt: skip
# of drawings without a visualisation: riddles are hardly drawn without one
BARE_SHARES = SHARES | {"color_attr": 0.20, "knowledge": 0.02}


def reword(text: str, rng: np.random.Generator) -> str:
    """The same prompt with another introduction, or none, and another wording of its relation."""
    for relation in CANONICAL:
        if f" {relation} " in text and rng.random() < 0.3:
            wordings = [wording for wording, meaning in RELATIONS.items() if meaning == relation]
            text = text.replace(f" {relation} ", f" {random_choice(rng, wordings)} ")
    if rng.random() < 0.2:
        return text
    introduction = INTRODUCTIONS[0] if rng.random() < 0.6 else random_choice(rng, INTRODUCTIONS)
    return f"{introduction} {text}"


def training_prompt(rng: np.random.Generator, is_held_out: Callable[[Request], bool],
                    shares: Mapping[str, float] = SHARES) -> tuple[Request, str]:  # fmt: skip
    """One training request with its text; a request that is held out is replaced by another."""
    while True:
        category = str(rng.choice(list(shares), p=list(shares.values())))
        request, text = (SAMPLERS | HARD_SAMPLERS)[category](rng)
        if category in ("counting", "binding") and rng.random() < 0.25:
            request, text = _coloured_or_related(request, rng)
        if not is_held_out(request):
            return request, reword(text, rng)


def _coloured_or_related(request: Request, rng: np.random.Generator) -> tuple[Request, str]:
    """A prompt of a kind that no benchmark category has: "three red stars", "a small star above a striped heart"."""
    first = request.phrases[0]
    if len(request.phrases) > 1:
        return _with_text(Request(request.phrases, random_choice(rng, CANONICAL)))
    size = first.size or (random_choice(rng, SIZES) if rng.random() < 0.3 else None)
    return _with_text(Request((Phrase(first.shape, random_choice(rng, COLOURS), size, first.fill, first.count),)))
