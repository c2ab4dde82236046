"""A scene: the one to four objects of a picture of the embedded world, each in a cell of a 4 x 4 grid."""

from __future__ import annotations

from dataclasses import dataclass

SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross", "heart", "moon", "arrow", "hourglass")
COLOURS = {  # GenEval's ten names, in its order, and the RGB values drawn here
    "red": (220, 30, 35),
    "orange": (250, 140, 20),
    "yellow": (250, 230, 30),
    "green": (30, 160, 50),
    "blue": (30, 70, 220),
    "purple": (130, 40, 170),
    "pink": (255, 130, 190),
    "brown": (115, 65, 25),
    "black": (10, 10, 10),
    "white": (250, 250, 250),
}
BACKGROUND = (160, 165, 170)
SIZES = {"large": 7.5, "small": 4.75}  # radius in pixels
FILLS = ("solid", "outlined", "striped")
GRID = 4  # cells per side
CELL = 16  # pixels per cell
PIXELS = GRID * CELL
CELL_NAMES = tuple(f"{row}{column + 1}" for row in "abcd" for column in range(GRID))  # a1 is the top left


def cell_area(cell: int, size: int = CELL) -> tuple[slice, slice]:
    """Rows and columns of a cell (0..15, row by row), where a cell is `size` pixels or tokens wide."""
    row, column = divmod(cell, GRID)
    return slice(row * size, (row + 1) * size), slice(column * size, (column + 1) * size)


@dataclass(frozen=True)
class Appearance:
    """Shape, colour, size and fill of an object, whatever its position."""

    shape: str
    colour: str
    size: str = "large"
    fill: str = "solid"


@dataclass(frozen=True)
class Item:
    """One object: its appearance, and its cell (0..15, row by row)."""

    appearance: Appearance
    cell: int

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) in pixels."""
        return (self.cell % GRID + 0.5) * CELL, (self.cell // GRID + 0.5) * CELL


@dataclass(frozen=True)
class Scene:
    """The objects of one picture, grouped by the phrases of the prompt: `groups[i]` belongs to phrase i."""

    groups: tuple[tuple[Item, ...], ...]

    @property
    def items(self) -> tuple[Item, ...]:
        """All objects, in the order of the prompt."""
        return tuple(item for group in self.groups for item in group)
