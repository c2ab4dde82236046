"""Pictures that are almost right: what a judge has to refuse, and slightly damaged drawings that it has to accept.

Every function takes a generator and returns a `Case`: a picture with one object in one cell, and the shapes that a
judge may see in it (none for most kinds). Misses that nobody could tell from a right drawing are drawn again: each
differs from its source by at least `VISIBLE` of the source's energy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from milr.shapes.drawing import draw_scene, mask, sprite
from milr.shapes.scenes import BACKGROUND, CELL, COLOURS, FILLS, GRID, PIXELS, SHAPES, SIZES, Item, Look, Scene

VISIBLE = 0.12
DISTINCT = 130.0  # RGB distance of two colours that nobody mixes up
SUPER = 8
FOREIGN: dict[str, list[tuple[float, float]]] = {  # corners in units of the radius, y down
    "pentagon": [(0, -1), (0.95, -0.31), (0.59, 0.81), (-0.59, 0.81), (-0.95, -0.31)],
    "house": [(0, -1), (0.8, -0.2), (0.8, 0.9), (-0.8, 0.9), (-0.8, -0.2)],
    "l": [(-0.8, -1), (-0.1, -1), (-0.1, 0.4), (0.8, 0.4), (0.8, 1), (-0.8, 1)],
    "t": [(-0.9, -0.9), (0.9, -0.9), (0.9, -0.2), (0.35, -0.2), (0.35, 0.9), (-0.35, 0.9), (-0.35, -0.2), (-0.9, -0.2)],
    "trapezoid": [(-0.5, -0.8), (0.5, -0.8), (1, 0.8), (-1, 0.8)],
    "bar": [(-1, -0.4), (1, -0.4), (1, 0.4), (-1, 0.4)],
    "post": [(-0.4, -1), (0.4, -1), (0.4, 1), (-0.4, 1)],
    "slope": [(-0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    "four-pointed star": [(0, -1), (0.3, -0.3), (1, 0), (0.3, 0.3), (0, 1), (-0.3, 0.3), (-1, 0), (-0.3, -0.3)],
    "x": [(-1, -0.6), (-0.6, -1), (0, -0.4), (0.6, -1), (1, -0.6), (0.4, 0), (1, 0.6), (0.6, 1), (0, 0.4), (-0.6, 1),
          (-1, 0.6), (-0.4, 0)],
    "zigzag": [(-1, -1), (1, -1), (0.2, 0.2), (1, 0.2), (-0.6, 1), (-0.2, -0.2), (-1, -0.2)],
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A picture (64, 64, 3) uint8, the look it was made from, and the shapes that may be found in it."""

    picture: np.ndarray
    look: Look
    allowed: tuple[str, ...] = ()


def a_look(rng: np.random.Generator) -> Look:
    """Any look, all equally likely."""
    shape, colour, size, fill = (str(rng.choice(list(names))) for names in (SHAPES, COLOURS, SIZES, FILLS))
    return Look(shape, colour, size, fill)


def place(sprites: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture with `sprites` (CELL, CELL, 3) in one cell."""
    picture = np.empty((PIXELS, PIXELS, 3), np.uint8)
    picture[:] = BACKGROUND
    top, left = (int(cell) * CELL for cell in rng.integers(0, GRID, 2))
    picture[top : top + CELL, left : left + CELL] = np.clip(np.round(sprites), 0, 255)
    return picture


def paint(cover: np.ndarray, colour: str) -> np.ndarray:
    """Coverage (CELL, CELL) in a colour on the background."""
    pixels: np.ndarray = cover[..., None] * np.array(COLOURS[colour]) + (1 - cover[..., None]) * np.array(BACKGROUND)
    return pixels


def differs(cover: np.ndarray, other: np.ndarray, least: float = VISIBLE) -> bool:
    """Whether two coverages differ by more than `least` of the energy of `other`, at the best brightness."""
    if not cover.any():
        return False
    scale = (cover * other).sum() / (cover**2).sum()
    return bool(((other - scale * cover) ** 2).sum() > least * (other**2).sum())


def _quadrant(rng: np.random.Generator) -> tuple[slice, slice]:
    row, column = (int(half) * CELL // 2 for half in rng.integers(0, 2, 2))
    return slice(row, row + CELL // 2), slice(column, column + CELL // 2)


def _part(rng: np.random.Generator) -> np.ndarray:
    """A half, a corner half or a quadrant of a cell, as a boolean (CELL, CELL)."""
    down, right = np.mgrid[:CELL, :CELL]
    halves = [down < CELL // 2, right < CELL // 2, down + right < CELL - 1, down < right]
    chosen = halves[rng.integers(4)] if rng.random() < 0.6 else np.zeros((CELL, CELL), bool)
    if not chosen.any():
        chosen = chosen.copy()
        chosen[_quadrant(rng)] = True
        return chosen
    return chosen if rng.random() < 0.5 else ~chosen


def cover_of(look: Look) -> np.ndarray:
    """The coverage of a look."""
    return mask(look.shape, look.size, look.fill)


def half_drawn(rng: np.random.Generator) -> Case:
    """A half or a quadrant is missing."""
    while True:
        look, gone = a_look(rng), _part(rng)
        cover = np.where(gone, 0, cover_of(look))
        if differs(cover, cover_of(look)):
            return Case(place(paint(cover, look.colour), rng), look)


def chimera(rng: np.random.Generator) -> Case:
    """One quadrant belongs to another shape, size or fill, as when one image token is wrong."""
    while True:
        look, other, corner = a_look(rng), a_look(rng), _quadrant(rng)
        cover = cover_of(look).copy()
        cover[corner] = cover_of(other)[corner]
        if differs(cover, cover_of(look)) and differs(cover, cover_of(other)):
            return Case(place(paint(cover, look.colour), rng), look)


def morph(rng: np.random.Generator) -> Case:
    """Half one shape, half another, everywhere: two answers averaged."""
    while True:
        look, other = a_look(rng), a_look(rng)
        cover = (cover_of(look) + cover_of(other)) / 2
        if look.shape != other.shape and differs(cover, cover_of(look)) and differs(cover, cover_of(other)):
            return Case(place(paint(cover, look.colour), rng), look)


def merged(rng: np.random.Generator) -> Case:
    """Two objects of different shapes and colours lie over each other, and both can be seen."""
    while True:
        look, other = a_look(rng), a_look(rng)
        shift = (int(rng.integers(-3, 4)), int(rng.integers(-3, 4)))
        covers = np.roll(cover_of(other), shift, (0, 1))
        both = covers[..., None] * np.array(COLOURS[other.colour]) + (1 - covers[..., None]) * sprite(look)
        seen = cover_of(look) * (1 - covers)
        apart = _apart(look.colour, other.colour)
        if look.shape != other.shape and apart and (seen**2).sum() > 0.25 * (cover_of(look) ** 2).sum():
            return Case(place(both, rng), look)


def _apart(colour: str, other: str) -> bool:
    return float(np.linalg.norm(np.subtract(COLOURS[colour], COLOURS[other]))) > DISTINCT


def mixed_colours(rng: np.random.Generator) -> Case:
    """A half or a quadrant has another colour."""
    while True:
        look, other, part = a_look(rng), str(rng.choice(list(COLOURS))), _part(rng)
        cover = cover_of(look)
        share = (cover[part] ** 2).sum() / (cover**2).sum()
        if _apart(look.colour, other) and VISIBLE < share < 1 - VISIBLE:
            painted = np.where(part[..., None], paint(cover, other), paint(cover, look.colour))
            return Case(place(painted, rng), look)


def blurred(rng: np.random.Generator) -> Case:
    """Strongly out of focus: 1.5 to 2.5 pixels."""
    look = a_look(rng)
    return Case(soften(place(sprite(look), rng), float(rng.uniform(1.5, 2.5))), look)


def faded(rng: np.random.Generator) -> Case:
    """Hardly there: an RGB distance of 25 to 50 from the background, where the faintest colour has 100."""
    look = a_look(rng)
    contrast = np.subtract(COLOURS[look.colour], BACKGROUND)
    share = rng.uniform(25, 50) / np.linalg.norm(contrast)
    return Case(place(paint(cover_of(look) * share, look.colour), rng), look)


def foreign(rng: np.random.Generator) -> Case:
    """A shape that the world does not have."""
    look = a_look(rng)
    corners = list(FOREIGN.values())[rng.integers(len(FOREIGN))]
    canvas = Image.new("1", (CELL * SUPER, CELL * SUPER))
    radius = SIZES[look.size] * SUPER
    points = [(CELL * SUPER / 2 + x * radius, CELL * SUPER / 2 + y * radius) for x, y in corners]
    ImageDraw.Draw(canvas).polygon(points, fill=1)
    cover = np.array(canvas).reshape(CELL, SUPER, CELL, SUPER).mean((1, 3))
    return Case(place(paint(cover, look.colour), rng), look)


def wrong_shape(rng: np.random.Generator) -> Case:
    """A right drawing of another shape: that shape alone may be found."""
    look = a_look(rng)
    return Case(place(sprite(look), rng), look, (look.shape,))


MISSES: dict[str, Callable[[np.random.Generator], Case]] = {
    kind.__name__: kind
    for kind in (wrong_shape, foreign, half_drawn, chimera, morph, merged, mixed_colours, blurred, faded)
}


def soften(picture: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of `sigma` pixels."""
    smooth: np.ndarray = ndimage.gaussian_filter(picture.astype(np.float32), (sigma, sigma, 0))
    return np.round(smooth).astype(np.uint8)


def grain(picture: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """White noise of `sigma` levels."""
    return np.clip(np.round(picture + rng.normal(0, sigma, picture.shape)), 0, 255).astype(np.uint8)


def tint(picture: np.ndarray, levels: float, rng: np.random.Generator) -> np.ndarray:
    """A constant shift of each channel by up to `levels`."""
    return np.clip(np.round(picture + rng.uniform(-levels, levels, 3)), 0, 255).astype(np.uint8)


def clean(rng: np.random.Generator) -> Case:
    """A right drawing."""
    look = a_look(rng)
    return Case(draw_scene(Scene(((Item(look, int(rng.integers(GRID * GRID))),),))), look, (look.shape,))


def _damaged(rng: np.random.Generator, damage: Callable[[np.ndarray], np.ndarray]) -> Case:
    case = clean(rng)
    return Case(damage(case.picture), case.look, case.allowed)


def soft(rng: np.random.Generator) -> Case:
    """A right drawing, blurred by 0.3 to 0.6 pixels."""
    return _damaged(rng, lambda picture: soften(picture, float(rng.uniform(0.3, 0.6))))


def noisy(rng: np.random.Generator) -> Case:
    """A right drawing with noise of 4 to 12 levels."""
    return _damaged(rng, lambda picture: grain(picture, float(rng.uniform(4, 12)), rng))


def tinted(rng: np.random.Generator) -> Case:
    """A right drawing whose channels are shifted by up to 12 levels."""
    return _damaged(rng, lambda picture: tint(picture, 12, rng))


def worn(rng: np.random.Generator) -> Case:
    """A right drawing with a little of everything: blur to 0.5, noise to 6 and tint to 8 levels."""

    def damage(picture: np.ndarray) -> np.ndarray:
        return tint(grain(soften(picture, float(rng.uniform(0, 0.5))), float(rng.uniform(0, 6)), rng), 8, rng)

    return _damaged(rng, damage)


def redrawn(rng: np.random.Generator) -> Case:
    """A right drawing as a tokenizer may give it back: each token's colour a little off, and cloudy, soft edges."""
    look = a_look(rng)
    cover, contrast = cover_of(look), np.subtract(COLOURS[look.colour], BACKGROUND)
    tokens = (contrast * rng.normal(1, 0.03, (2, 2, 1)) + rng.normal(0, 3, (2, 2, 3))).repeat(8, 0).repeat(8, 1)
    clouds = ndimage.gaussian_filter(rng.normal(0, 1, (CELL, CELL, 3)), (0.8, 0.8, 0))
    clouds *= rng.uniform(0.02, 0.12) * np.linalg.norm(contrast) / clouds.std() / np.sqrt(3)
    near = ndimage.maximum_filter(cover, 3)[..., None]
    picture = place(np.array(BACKGROUND) + cover[..., None] * tokens + near * clouds, rng)
    return Case(soften(picture, float(rng.uniform(0, 0.45))), look, (look.shape,))


RIGHT: dict[str, Callable[[np.random.Generator], Case]] = {
    kind.__name__: kind for kind in (clean, soft, noisy, tinted, worn, redrawn)
}


def displaced(rng: np.random.Generator) -> Case:
    """A whole object half a cell off: unusual, but still that object."""
    look = a_look(rng)
    picture = np.empty((PIXELS, PIXELS, 3), np.uint8)
    picture[:] = BACKGROUND
    top, left = (int(half) * CELL // 2 for half in rng.integers(1, 2 * GRID - 2, 2))
    picture[top : top + CELL, left : left + CELL] = sprite(look)
    return Case(picture, look, (look.shape,))
