"""Riddles for knowledge prompts: descriptions that stand for a shape, a colour or a number without naming it."""

from __future__ import annotations

from collections.abc import Mapping

SHAPE_RIDDLES = {
    "circle": ("the shape of a wheel", "the shape of a coin"),
    "square": ("the shape with four equal sides", "the shape of a chess board"),
    "triangle": ("the shape with three sides", "the shape of a pizza slice"),
    "star": ("the shape on top of a christmas tree", "the shape of a sheriff badge"),
    "diamond": ("the shape of a kite", "the shape of a cut jewel"),
    "cross": ("the shape of a plus sign", "the shape on a first aid kit"),
    "heart": ("the shape of love", "the shape on a valentine card"),
    "moon": ("the shape that shines at night", "the shape of a croissant"),
    "arrow": ("the shape that points the way", "the shape that an archer shoots"),
    "hourglass": ("the shape that measures time with sand", "the shape of an egg timer"),
}
COLOUR_RIDDLES = {
    "red": ("a ripe tomato", "blood"),
    "orange": ("a carrot", "a pumpkin"),
    "yellow": ("a lemon", "the sun"),
    "green": ("grass", "a frog"),
    "blue": ("a clear sky", "the sea"),
    "purple": ("an eggplant", "lavender"),
    "pink": ("a flamingo", "bubble gum"),
    "brown": ("chocolate", "soil"),
    "black": ("coal", "a raven"),
    "white": ("snow", "milk"),
}
NUMBER_RIDDLES = {
    2: ("a bicycle has wheels", "a bird has wings"),
    3: ("a triangle has corners", "a tricycle has wheels"),
    4: ("a cat has legs", "a car has wheels"),
}


def _invert(table: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {riddle: answer for answer, riddles in table.items() for riddle in riddles}


SHAPE_ANSWERS = _invert(SHAPE_RIDDLES)
COLOUR_ANSWERS = _invert(COLOUR_RIDDLES)
NUMBER_ANSWERS = {riddle: number for number, riddles in NUMBER_RIDDLES.items() for riddle in riddles}
