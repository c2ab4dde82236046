"""The codes of the image tokenizer: every 8 x 8 patch that a scene can hold, and one code for each.

The world is aligned with the token grid, so every picture is a mosaic of few patches. This fixes what each image token
means: the VQ tokenizer is trained to encode and decode exactly these, and scenes become tokens by lookup.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np

from milr.shapes.drawing import blank_picture, sprite
from milr.shapes.scenes import CELL, COLOURS, FILLS, PIXELS, SHAPES, SIZES, Appearance, Scene, cell_area

PATCH = 8  # pixels
SIDE = PIXELS // PATCH  # tokens
TOKENS = SIDE * SIDE
PER_CELL = CELL // PATCH  # patches along a cell's side
NEAR = 0.5  # patches whose mean absolute difference is below this many levels share a code


def all_appearances() -> list[Appearance]:
    """Every combination of shape, colour, size and fill."""
    return [Appearance(*attributes) for attributes in product(SHAPES, COLOURS, SIZES, FILLS)]


def split(picture: np.ndarray) -> np.ndarray:
    """(..., n * 8, m * 8, 3) to (..., n * m, 8, 8, 3), row by row."""
    *batch, height, width, channels = picture.shape
    rows = picture.reshape(*batch, height // PATCH, PATCH, width // PATCH, PATCH, channels)
    return np.moveaxis(rows, -3, -4).reshape(*batch, -1, PATCH, PATCH, channels)


def mosaic(patches: np.ndarray) -> np.ndarray:
    """(..., 64, 8, 8, 3) to pictures (..., 64, 64, 3)."""
    *batch, _, _, _, channels = patches.shape
    rows = np.moveaxis(patches.reshape(*batch, SIDE, SIDE, PATCH, PATCH, channels), -4, -3)
    return rows.reshape(*batch, PIXELS, PIXELS, channels)


@lru_cache(maxsize=1)
def codebook() -> tuple[np.ndarray, dict[Appearance, np.ndarray]]:
    """The patches (V, 8, 8, 3) uint8 and the four codes (4,) of every appearance.

    The background has a code of its own for each of the 64 positions: code 0 for the first, the last 63 codes for the
    others. Their patches are all alike; the codes tell the transformer its position, which it would otherwise have to
    count.
    """
    by_colour: dict[str, list[tuple[int, np.ndarray]]] = {}
    background = blank_picture()[:PATCH, :PATCH]
    patches, codes = [background], {}
    for appearance in all_appearances():
        ids = []
        for patch in split(sprite(appearance)):
            similar = by_colour.setdefault(appearance.colour, [(0, background)])
            code = next((i for i, other in similar if np.abs(other.astype(float) - patch).mean() < NEAR), None)
            if code is None:
                code = len(patches)
                patches.append(patch)
                similar.append((code, patch))
            ids.append(code)
        codes[appearance] = np.array(ids)
    return np.stack(patches + [background] * (TOKENS - 1)), codes


def empty_tokens() -> np.ndarray:
    """The 64 image tokens of a picture without objects."""
    size = len(codebook()[0])
    return np.array([0, *range(size - TOKENS + 1, size)])


def holds_object(tokens: np.ndarray) -> np.ndarray:
    """Which tokens (of any shape) are not background."""
    mask: np.ndarray = (tokens > 0) & (tokens < len(codebook()[0]) - TOKENS + 1)
    return mask


def scene_tokens(scene: Scene) -> np.ndarray:
    """The 64 image tokens of a scene."""
    grid = empty_tokens().reshape(SIDE, SIDE)
    for item in scene.items:
        grid[cell_area(item.cell, PER_CELL)] = codebook()[1][item.appearance].reshape(PER_CELL, PER_CELL)
    return grid.ravel()
