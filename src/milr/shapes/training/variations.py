"""Renderings that nano never saw, for a judge that is independent of nano and of the detector.

The same shapes and names in another hand: thinner or thicker lines, other stripes, sizes a little off, turned, moved
by a pixel, colours and ground jittered, noise and blur. Solid objects differ least from the world's own. Cells may also
hold what is nearly an object, and is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from scipy import ndimage

from milr.shapes.drawing import Manner, coverage
from milr.shapes.scenes import BACKGROUND, CELL, COLOURS, FILLS, GRID, PIXELS, SHAPES, SIZES
from milr.shapes.training.near_misses import differs

VARIANTS = 60  # hands in which each of the masks is drawn
NOTHING = 0  # the class of a cell without an object; shape i of SHAPES is class i + 1
UNTOLD = -100  # colour, size and fill of a cell that holds no object
KINDS = list(product(range(len(SHAPES)), range(len(SIZES)), range(len(FILLS))))


@dataclass(frozen=True)
class Sheets:
    """Pictures (B, 64, 64, 3) uint8 and what each of the 16 cells holds: indices (B, 16) for every attribute."""

    pictures: np.ndarray
    shapes: np.ndarray
    colours: np.ndarray
    sizes: np.ndarray
    fills: np.ndarray


def a_manner(rng: np.random.Generator) -> Manner:
    """Any hand but the world's own: lines are at least 8 % off."""
    line = rng.uniform(0.75, 0.92) if rng.random() < 0.5 else rng.uniform(1.08, 1.4)
    shift = (float(rng.uniform(-1.2, 1.2)), float(rng.uniform(-1.2, 1.2)))
    return Manner(float(rng.uniform(0.9, 1.05)), float(line), float(rng.uniform(3.4, 4.8)), float(rng.uniform(0, 4)),
                  float(rng.uniform(0.15, 0.42)), shift, float(rng.uniform(-7, 7)))  # fmt: skip


@lru_cache(maxsize=1)
def hands(seed: int) -> np.ndarray:
    """Masks (60, VARIANTS, CELL, CELL): every shape, size and fill of KINDS in VARIANTS hands."""
    rng = np.random.default_rng(seed)
    names = [(SHAPES[shape], list(SIZES)[size], FILLS[fill]) for shape, size, fill in KINDS]
    return np.stack([[coverage(*name, a_manner(rng)) for _ in range(VARIANTS)] for name in names])


def a_colour(index: int, rng: np.random.Generator) -> np.ndarray:
    """A palette colour, each channel up to 18 levels off."""
    return np.clip(np.array(list(COLOURS.values())[index]) + rng.uniform(-18, 18, 3), 0, 255)


def sheet(rng: np.random.Generator, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """One picture (64, 64, 3) and (4, 16): shape class, colour, size and fill of each cell."""
    ground = np.array(BACKGROUND) + rng.uniform(-8, 8, 3)
    picture = np.tile(ground, (PIXELS, PIXELS, 1))
    told = np.full((4, GRID * GRID), UNTOLD)
    told[0] = NOTHING
    filled = rng.random(GRID * GRID) < (0.2 if rng.random() < 0.5 else 0.7)
    for cell in np.flatnonzero(filled):
        colour = int(rng.integers(len(COLOURS)))
        kind: int | None
        kind, cover = _drawn(rng, seed)
        paint = np.broadcast_to(a_colour(colour, rng), (CELL, CELL, 3))
        if rng.random() < 0.3:
            kind, cover, paint = _spoilt(cover, paint, rng, seed)
        elif rng.random() < 0.3:
            paint = _mottled(paint, rng)
        top, left = cell // GRID * CELL, cell % GRID * CELL
        picture[top : top + CELL, left : left + CELL] += cover[..., None] * (paint - ground)
        if kind is not None:
            shape, size, fill = KINDS[kind]
            told[:, cell] = shape + 1, colour, size, fill
    return _worn(picture, rng), told


def sheets(rng: np.random.Generator, size: int, seed: int = 0) -> Sheets:
    """A batch; `seed` is that of the hands."""
    made = [sheet(rng, seed) for _ in range(size)]
    told = np.stack([one for _, one in made])
    return Sheets(np.stack([picture for picture, _ in made]), *(told[:, row] for row in range(4)))


def _drawn(rng: np.random.Generator, seed: int) -> tuple[int, np.ndarray]:
    kind = int(rng.integers(len(KINDS)))
    return kind, hands(seed)[kind, rng.integers(VARIANTS)]


def _quarter(rng: np.random.Generator) -> np.ndarray:
    chosen = np.zeros((CELL, CELL), bool)
    row, column = (int(half) * CELL // 2 for half in rng.integers(0, 2, 2))
    chosen[row : row + CELL // 2, column : column + CELL // 2] = True
    return chosen


def _spoilt(cover: np.ndarray, paint: np.ndarray, rng: np.random.Generator, seed: int
            ) -> tuple[None, np.ndarray, np.ndarray]:  # fmt: skip
    """What is no object: quarters missing, of another object or of another colour, two objects in one, or faint."""
    while True:
        _, other = _drawn(rng, seed)
        part = _quarter(rng) | (_quarter(rng) if rng.random() < 0.5 else False)
        spoil = rng.integers(5)
        if spoil == 0:
            made = np.where(part, 0, cover)
        elif spoil == 1:
            made = np.where(part, other, cover)
        elif spoil == 2:
            made = (cover + other) / 2
        elif spoil == 3:
            share = (cover[part] ** 2).sum() / (cover**2).sum()
            if not 0.15 < share < 0.85:
                continue
            colours = np.array(list(COLOURS.values()), float)
            far = colours[np.linalg.norm(colours - paint[0, 0], axis=-1) > 130]
            return None, cover, np.where(part[..., None], far[rng.integers(len(far))], paint)
        else:
            return None, cover * rng.uniform(0.05, 0.3), paint
        if made.any() and differs(made, cover) and differs(made, other):
            return None, made, paint


def _mottled(paint: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Quarters whose colours differ a little, as those of a tokenizer do."""
    return np.clip(paint + rng.normal(0, 7, (2, 2, 3)).repeat(CELL // 2, 0).repeat(CELL // 2, 1), 0, 255)


def _worn(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.6:
        sigma = rng.uniform(0, 0.7)
        picture = ndimage.gaussian_filter(picture, (sigma, sigma, 0))
    picture = picture + rng.normal(0, rng.uniform(0, 7), picture.shape)
    return np.asarray(np.clip(np.round(picture), 0, 255), np.uint8)
