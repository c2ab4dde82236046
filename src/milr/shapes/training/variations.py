"""Random renderings in other styles, for a judge that is independent of nano and of the detector.

The same shapes in styles that nano never sees: thinner or thicker lines, other stripes, sizes a little off, rotated,
shifted by a pixel, colours and background jittered, noise and blur. Solid objects differ least from the world's own
style. Some cells hold a near miss, which is labelled as nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from scipy import ndimage

from milr.shapes.drawing import Style, coverage
from milr.shapes.scenes import BACKGROUND, CELL, COLOURS, FILLS, GRID, PIXELS, SHAPES, SIZES, cell_area
from milr.shapes.training.loop import IGNORED
from milr.shapes.training.near_misses import differs, quadrant_mask

VARIANTS = 60  # styles in which each mask is rendered
NOTHING = 0  # the class of a cell without an object; shape i of SHAPES is class i + 1
KINDS = list(product(range(len(SHAPES)), range(len(SIZES)), range(len(FILLS))))


@dataclass(frozen=True)
class LabelledPictures:
    """Pictures (B, 64, 64, 3) uint8, and for each of the 16 cells the class indices (B, 16) of every attribute.

    A cell without an object has the shape NOTHING, and IGNORED for the other attributes.
    """

    pictures: np.ndarray
    shapes: np.ndarray
    colours: np.ndarray
    sizes: np.ndarray
    fills: np.ndarray


def random_style(rng: np.random.Generator) -> Style:
    """Any style but the world's own: line widths differ from it by 8 % or more."""
    line = rng.uniform(0.75, 0.92) if rng.random() < 0.5 else rng.uniform(1.08, 1.4)
    shift = (float(rng.uniform(-1.2, 1.2)), float(rng.uniform(-1.2, 1.2)))
    return Style(float(rng.uniform(0.9, 1.05)), float(line), float(rng.uniform(3.4, 4.8)), float(rng.uniform(0, 4)),
                  float(rng.uniform(0.15, 0.42)), shift, float(rng.uniform(-7, 7)))  # fmt: skip


@lru_cache(maxsize=1)
def styled_masks(seed: int) -> np.ndarray:
    """Masks (60, VARIANTS, CELL, CELL): every shape, size and fill of KINDS in VARIANTS styles."""
    rng = np.random.default_rng(seed)
    names = [(SHAPES[shape], list(SIZES)[size], FILLS[fill]) for shape, size, fill in KINDS]
    return np.stack([[coverage(*name, random_style(rng)) for _ in range(VARIANTS)] for name in names])


def random_colour(index: int, rng: np.random.Generator) -> np.ndarray:
    """A palette colour, each channel up to 18 levels off."""
    return np.clip(np.array(list(COLOURS.values())[index]) + rng.uniform(-18, 18, 3), 0, 255)


def labelled_picture(rng: np.random.Generator, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """One picture (64, 64, 3), and labels (4, 16): shape, colour, size and fill of each cell."""
    background = np.array(BACKGROUND) + rng.uniform(-8, 8, 3)
    picture = np.tile(background, (PIXELS, PIXELS, 1))
    labels = np.full((4, GRID * GRID), IGNORED)
    labels[0] = NOTHING
    occupied = rng.random(GRID * GRID) < (0.2 if rng.random() < 0.5 else 0.7)
    for cell in np.flatnonzero(occupied):
        colour = int(rng.integers(len(COLOURS)))
        kind: int | None
        kind, cover = _random_mask(rng, seed)
        paint = np.broadcast_to(random_colour(colour, rng), (CELL, CELL, 3))
        if rng.random() < 0.3:
            kind, cover, paint = _near_miss(cover, paint, rng, seed)
        elif rng.random() < 0.3:
            paint = _mottled(paint, rng)
        picture[cell_area(int(cell))] += cover[..., None] * (paint - background)
        if kind is not None:
            shape, size, fill = KINDS[kind]
            labels[:, cell] = shape + 1, colour, size, fill
    return _degraded(picture, rng), labels


def labelled_pictures(rng: np.random.Generator, size: int, seed: int = 0) -> LabelledPictures:
    """A batch; `seed` is that of the styles."""
    pictures, labels = zip(*(labelled_picture(rng, seed) for _ in range(size)), strict=True)
    return LabelledPictures(np.stack(pictures), *np.stack(labels, 1))


def _random_mask(rng: np.random.Generator, seed: int) -> tuple[int, np.ndarray]:
    """An index of KINDS, and its mask (CELL, CELL) in a random style."""
    kind = int(rng.integers(len(KINDS)))
    return kind, styled_masks(seed)[kind, rng.integers(VARIANTS)]


def _near_miss(cover: np.ndarray, paint: np.ndarray, rng: np.random.Generator, seed: int
               ) -> tuple[None, np.ndarray, np.ndarray]:  # fmt: skip
    """A near miss: quadrants missing, of another object or of another colour, the mean of two objects, or faint.

    Returns no kind, the coverage (CELL, CELL) and the colours (CELL, CELL, 3).
    """
    while True:
        _, other = _random_mask(rng, seed)
        part = quadrant_mask(rng) | (quadrant_mask(rng) if rng.random() < 0.5 else False)
        defect = rng.integers(5)
        if defect == 0:
            changed = np.where(part, 0, cover)
        elif defect == 1:
            changed = np.where(part, other, cover)
        elif defect == 2:
            changed = (cover + other) / 2
        elif defect == 3:
            share = (cover[part] ** 2).sum() / (cover**2).sum()
            if not 0.15 < share < 0.85:
                continue
            colours = np.array(list(COLOURS.values()), float)
            far = colours[np.linalg.norm(colours - paint[0, 0], axis=-1) > 130]
            return None, cover, np.where(part[..., None], far[rng.integers(len(far))], paint)
        else:
            return None, cover * rng.uniform(0.05, 0.3), paint
        if changed.any() and differs(changed, cover) and differs(changed, other):
            return None, changed, paint


def _mottled(paint: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The colours with a small random shift of each quadrant, as a tokenizer's rendering has."""
    return np.clip(paint + rng.normal(0, 7, (2, 2, 3)).repeat(CELL // 2, 0).repeat(CELL // 2, 1), 0, 255)


def _degraded(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture as uint8 with noise and, mostly, blur."""
    if rng.random() < 0.6:
        sigma = rng.uniform(0, 0.7)
        picture = ndimage.gaussian_filter(picture, (sigma, sigma, 0))
    picture = picture + rng.normal(0, rng.uniform(0, 7), picture.shape)
    return np.asarray(np.clip(np.round(picture), 0, 255), np.uint8)
