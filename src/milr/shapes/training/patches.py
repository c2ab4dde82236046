"""The visual vocabulary of the embedded world: every 8 x 8 patch a scene can hold, and one code for each.

The world is aligned with the token grid, so a picture is a mosaic of few patches. Naming them fixes what each image
token means: the VQ tokenizer is trained to read and draw exactly these, and scenes turn into tokens by lookup.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np

from milr.shapes.drawing import sprite
from milr.shapes.scenes import BACKGROUND, CELL, COLOURS, FILLS, GRID, PIXELS, SHAPES, SIZES, Look, Scene

PATCH = 8  # pixels
SIDE = PIXELS // PATCH  # tokens
TOKENS = SIDE * SIDE
PER_CELL = CELL // PATCH  # patches along a cell's side
NEAR = 0.5  # patches whose mean absolute difference is below this many levels share a code


def looks() -> list[Look]:
    """Every look there is."""
    return [Look(*chosen) for chosen in product(SHAPES, COLOURS, SIZES, FILLS)]


def split(picture: np.ndarray) -> np.ndarray:
    """(..., n * 8, m * 8, 3) to (..., n * m, 8, 8, 3), row by row."""
    *lead, height, width, channels = picture.shape
    cut = picture.reshape(*lead, height // PATCH, PATCH, width // PATCH, PATCH, channels)
    return np.moveaxis(cut, -3, -4).reshape(*lead, -1, PATCH, PATCH, channels)


def mosaic(patches: np.ndarray) -> np.ndarray:
    """(..., 64, 8, 8, 3) to pictures (..., 64, 64, 3)."""
    *lead, _, _, _, channels = patches.shape
    cut = np.moveaxis(patches.reshape(*lead, SIDE, SIDE, PATCH, PATCH, channels), -4, -3)
    return cut.reshape(*lead, PIXELS, PIXELS, channels)


@lru_cache(maxsize=1)
def codebook() -> tuple[np.ndarray, dict[Look, np.ndarray]]:
    """The patches (V, 8, 8, 3) uint8 and the four codes (4,) of every look.

    The ground has a code of its own for each of the 64 places: code 0 is the first, the last 63 are the others. They
    all look alike, and tell the transformer where it is, which it would otherwise have to count.
    """
    known: dict[str, list[tuple[int, np.ndarray]]] = {}
    ground = np.empty((PATCH, PATCH, 3), np.uint8)
    ground[:] = BACKGROUND
    found, codes = [ground], {}
    for look in looks():
        ids = []
        for patch in split(sprite(look)):
            same = known.setdefault(look.colour, [(0, ground)])
            code = next((i for i, other in same if np.abs(other.astype(float) - patch).mean() < NEAR), None)
            if code is None:
                code = len(found)
                found.append(patch)
                same.append((code, patch))
            ids.append(code)
        codes[look] = np.array(ids)
    return np.stack(found + [ground] * (TOKENS - 1)), codes


def empty_tokens() -> np.ndarray:
    """The 64 image tokens of a picture without objects."""
    size = len(codebook()[0])
    return np.array([0, *range(size - TOKENS + 1, size)])


def holds_object(tokens: np.ndarray) -> np.ndarray:
    """Where tokens (any shape) are not ground."""
    held: np.ndarray = (tokens > 0) & (tokens < len(codebook()[0]) - TOKENS + 1)
    return held


def scene_tokens(scene: Scene) -> np.ndarray:
    """The 64 image tokens of a scene."""
    grid = empty_tokens().reshape(SIDE, SIDE)
    for item in scene.items:
        top, left = item.cell // GRID * PER_CELL, item.cell % GRID * PER_CELL
        grid[top : top + PER_CELL, left : left + PER_CELL] = codebook()[1][item.look].reshape(PER_CELL, PER_CELL)
    return grid.ravel()
