"""Near misses, which a judge has to refuse, and slightly damaged right drawings, which it has to accept.

Every kind is a function that takes a generator and returns a `Case`: a picture with one object in one cell, and the
shapes that a judge may find in it (for most near misses none). A near miss that cannot be told from a right drawing is
drawn again: each differs from its source by at least `VISIBLE` of the source's energy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from milr.shapes.drawing import SUPER, blank_picture, draw_scene, mask, sprite
from milr.shapes.scenes import BACKGROUND, CELL, COLOURS, FILLS, GRID, SHAPES, SIZES, Appearance, Item, Scene

VISIBLE = 0.12
DISTINCT = 130.0  # RGB distance from which two colours cannot be confused
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
    """A picture (64, 64, 3) uint8, the appearance it was made from, and the shapes that may be found in it."""

    picture: np.ndarray
    appearance: Appearance
    allowed: tuple[str, ...] = ()


def random_appearance(rng: np.random.Generator) -> Appearance:
    """Any appearance, all equally likely."""
    shape, colour, size, fill = (str(rng.choice(list(names))) for names in (SHAPES, COLOURS, SIZES, FILLS))
    return Appearance(shape, colour, size, fill)


def in_random_cell(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture that shows `pixels` (CELL, CELL, 3) in one cell."""
    picture = blank_picture()
    top, left = (int(index) * CELL for index in rng.integers(0, GRID, 2))
    picture[top : top + CELL, left : left + CELL] = np.clip(np.round(pixels), 0, 255)
    return picture


def paint(cover: np.ndarray, colour: str) -> np.ndarray:
    """Coverage (CELL, CELL) in a colour on the background."""
    pixels: np.ndarray = cover[..., None] * np.array(COLOURS[colour]) + (1 - cover[..., None]) * np.array(BACKGROUND)
    return pixels


def differs(cover: np.ndarray, other: np.ndarray, least: float = VISIBLE) -> bool:
    """Whether `cover`, scaled to match `other` best, differs from it by more than `least` of the energy of `other`."""
    if not cover.any():
        return False
    scale = (cover * other).sum() / (cover**2).sum()
    return bool(((other - scale * cover) ** 2).sum() > least * (other**2).sum())


def _quadrant(rng: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns of a random quadrant of a cell."""
    row, column = (int(half) * CELL // 2 for half in rng.integers(0, 2, 2))
    return slice(row, row + CELL // 2), slice(column, column + CELL // 2)


def quadrant_mask(rng: np.random.Generator) -> np.ndarray:
    """A random quadrant of a cell: boolean (CELL, CELL)."""
    inside = np.zeros((CELL, CELL), bool)
    inside[_quadrant(rng)] = True
    return inside


def _part(rng: np.random.Generator) -> np.ndarray:
    """A random half, along the axes or a diagonal, or a quadrant of a cell: boolean (CELL, CELL)."""
    down, right = np.mgrid[:CELL, :CELL]
    halves = [down < CELL // 2, right < CELL // 2, down + right < CELL - 1, down < right]
    if rng.random() < 0.6:
        half = halves[rng.integers(4)]
        return half if rng.random() < 0.5 else ~half
    return quadrant_mask(rng)


def cover_of(appearance: Appearance) -> np.ndarray:
    """The coverage (CELL, CELL) of an object of this appearance."""
    return mask(appearance.shape, appearance.size, appearance.fill)


def half_drawn(rng: np.random.Generator) -> Case:
    """A half or a quadrant is missing."""
    while True:
        appearance, missing = random_appearance(rng), _part(rng)
        cover = np.where(missing, 0, cover_of(appearance))
        if differs(cover, cover_of(appearance)):
            return Case(in_random_cell(paint(cover, appearance.colour), rng), appearance)


def chimera(rng: np.random.Generator) -> Case:
    """One quadrant belongs to another shape, size or fill, as when one image token is wrong."""
    while True:
        appearance, other, corner = random_appearance(rng), random_appearance(rng), _quadrant(rng)
        cover = cover_of(appearance).copy()
        cover[corner] = cover_of(other)[corner]
        if differs(cover, cover_of(appearance)) and differs(cover, cover_of(other)):
            return Case(in_random_cell(paint(cover, appearance.colour), rng), appearance)


def morph(rng: np.random.Generator) -> Case:
    """The mean of two shapes at every pixel."""
    while True:
        appearance, other = random_appearance(rng), random_appearance(rng)
        cover = (cover_of(appearance) + cover_of(other)) / 2
        if appearance.shape != other.shape and differs(cover, cover_of(appearance)) and differs(cover, cover_of(other)):
            return Case(in_random_cell(paint(cover, appearance.colour), rng), appearance)


def merged(rng: np.random.Generator) -> Case:
    """Two objects of different shapes and colours overlap, and both are visible."""
    while True:
        appearance, other = random_appearance(rng), random_appearance(rng)
        shift = (int(rng.integers(-3, 4)), int(rng.integers(-3, 4)))
        upper = np.roll(cover_of(other), shift, (0, 1))
        both = upper[..., None] * np.array(COLOURS[other.colour]) + (1 - upper[..., None]) * sprite(appearance)
        visible = cover_of(appearance) * (1 - upper)
        distinct = _distinct_colours(appearance.colour, other.colour)
        if (
            appearance.shape != other.shape
            and distinct
            and (visible**2).sum() > 0.25 * (cover_of(appearance) ** 2).sum()
        ):
            return Case(in_random_cell(both, rng), appearance)


def _distinct_colours(colour: str, other: str) -> bool:
    return float(np.linalg.norm(np.subtract(COLOURS[colour], COLOURS[other]))) > DISTINCT


def mixed_colours(rng: np.random.Generator) -> Case:
    """A half or a quadrant has another colour."""
    while True:
        appearance, other, part = random_appearance(rng), str(rng.choice(list(COLOURS))), _part(rng)
        cover = cover_of(appearance)
        share = (cover[part] ** 2).sum() / (cover**2).sum()
        if _distinct_colours(appearance.colour, other) and VISIBLE < share < 1 - VISIBLE:
            painted = np.where(part[..., None], paint(cover, other), paint(cover, appearance.colour))
            return Case(in_random_cell(painted, rng), appearance)


def blurred(rng: np.random.Generator) -> Case:
    """Strongly out of focus: 1.5 to 2.5 pixels."""
    appearance = random_appearance(rng)
    return Case(blur(in_random_cell(sprite(appearance), rng), float(rng.uniform(1.5, 2.5))), appearance)


def faded(rng: np.random.Generator) -> Case:
    """Hardly visible: an RGB distance of 25 to 50 from the background, where the faintest colour has 100."""
    appearance = random_appearance(rng)
    contrast = np.subtract(COLOURS[appearance.colour], BACKGROUND)
    share = rng.uniform(25, 50) / np.linalg.norm(contrast)
    return Case(in_random_cell(paint(cover_of(appearance) * share, appearance.colour), rng), appearance)


def foreign(rng: np.random.Generator) -> Case:
    """A shape that the world does not have."""
    appearance = random_appearance(rng)
    corners = list(FOREIGN.values())[rng.integers(len(FOREIGN))]
    canvas = Image.new("1", (CELL * SUPER, CELL * SUPER))
    radius = SIZES[appearance.size] * SUPER
    points = [(CELL * SUPER / 2 + x * radius, CELL * SUPER / 2 + y * radius) for x, y in corners]
    ImageDraw.Draw(canvas).polygon(points, fill=1)
    cover = np.array(canvas).reshape(CELL, SUPER, CELL, SUPER).mean((1, 3))
    return Case(in_random_cell(paint(cover, appearance.colour), rng), appearance)


def wrong_shape(rng: np.random.Generator) -> Case:
    """A right drawing of another shape: that shape alone may be found."""
    appearance = random_appearance(rng)
    return Case(in_random_cell(sprite(appearance), rng), appearance, (appearance.shape,))


MISSES: dict[str, Callable[[np.random.Generator], Case]] = {
    kind.__name__: kind
    for kind in (wrong_shape, foreign, half_drawn, chimera, morph, merged, mixed_colours, blurred, faded)
}


def blur(picture: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of `sigma` pixels."""
    blurred: np.ndarray = ndimage.gaussian_filter(picture.astype(np.float32), (sigma, sigma, 0))
    return np.round(blurred).astype(np.uint8)


def add_noise(picture: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Add white noise with a standard deviation of `sigma` levels."""
    return np.clip(np.round(picture + rng.normal(0, sigma, picture.shape)), 0, 255).astype(np.uint8)


def shift_channels(picture: np.ndarray, levels: float, rng: np.random.Generator) -> np.ndarray:
    """Shift each channel by a constant of up to `levels`."""
    return np.clip(np.round(picture + rng.uniform(-levels, levels, 3)), 0, 255).astype(np.uint8)


def clean(rng: np.random.Generator) -> Case:
    """A right drawing."""
    appearance = random_appearance(rng)
    return Case(
        draw_scene(Scene(((Item(appearance, int(rng.integers(GRID * GRID))),),))), appearance, (appearance.shape,)
    )


def _damaged(rng: np.random.Generator, damage: Callable[[np.ndarray], np.ndarray]) -> Case:
    case = clean(rng)
    return Case(damage(case.picture), case.appearance, case.allowed)


def soft(rng: np.random.Generator) -> Case:
    """A right drawing, blurred by 0.3 to 0.6 pixels."""
    return _damaged(rng, lambda picture: blur(picture, float(rng.uniform(0.3, 0.6))))


def noisy(rng: np.random.Generator) -> Case:
    """A right drawing with noise of 4 to 12 levels."""
    return _damaged(rng, lambda picture: add_noise(picture, float(rng.uniform(4, 12)), rng))


def tinted(rng: np.random.Generator) -> Case:
    """A right drawing whose channels are shifted by up to 12 levels."""
    return _damaged(rng, lambda picture: shift_channels(picture, 12, rng))


def worn(rng: np.random.Generator) -> Case:
    """A right drawing with a little of everything: blur to 0.5 pixels, noise to 6 and channel shifts to 8 levels."""

    def damage(picture: np.ndarray) -> np.ndarray:
        return shift_channels(
            add_noise(blur(picture, float(rng.uniform(0, 0.5))), float(rng.uniform(0, 6)), rng), 8, rng
        )

    return _damaged(rng, damage)


def redrawn(rng: np.random.Generator) -> Case:
    """A right drawing as a tokenizer may give it back: each token's colour a little off, and cloudy, soft edges."""
    appearance = random_appearance(rng)
    cover, contrast = cover_of(appearance), np.subtract(COLOURS[appearance.colour], BACKGROUND)
    tokens = (contrast * rng.normal(1, 0.03, (2, 2, 1)) + rng.normal(0, 3, (2, 2, 3))).repeat(8, 0).repeat(8, 1)
    clouds = ndimage.gaussian_filter(rng.normal(0, 1, (CELL, CELL, 3)), (0.8, 0.8, 0))
    clouds *= rng.uniform(0.02, 0.12) * np.linalg.norm(contrast) / clouds.std() / np.sqrt(3)
    near = ndimage.maximum_filter(cover, 3)[..., None]
    picture = in_random_cell(np.array(BACKGROUND) + cover[..., None] * tokens + near * clouds, rng)
    return Case(blur(picture, float(rng.uniform(0, 0.45))), appearance, (appearance.shape,))


RIGHT: dict[str, Callable[[np.random.Generator], Case]] = {
    kind.__name__: kind for kind in (clean, soft, noisy, tinted, worn, redrawn)
}


def displaced(rng: np.random.Generator) -> Case:
    """A right drawing of an object half a cell off the grid: unusual, but still that object."""
    appearance = random_appearance(rng)
    picture = blank_picture()
    top, left = (int(half) * CELL // 2 for half in rng.integers(1, 2 * GRID - 2, 2))
    picture[top : top + CELL, left : left + CELL] = sprite(appearance)
    return Case(picture, appearance, (appearance.shape,))
