"""The detector's reading of colours: from the contrast of an object to a name of the palette."""

from __future__ import annotations

import numpy as np

from milr.shapes.scenes import BACKGROUND, COLOURS

COLOUR_LIMIT = 30.0  # CIELAB distance to the nearest colour above which an object has none
LEAST_STRENGTH = 0.65  # of a colour's contrast to the background


def lab(rgb: np.ndarray) -> np.ndarray:
    """sRGB levels (..., 3) to CIELAB under D65 (CIE 15)."""
    encoded = np.clip(rgb, 0, 255) / 255
    linear = np.where(encoded > 0.04045, ((encoded + 0.055) / 1.055) ** 2.4, encoded / 12.92)
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ matrix.T / np.array([0.9505, 1.0, 1.089])
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def nearest_colour(contrast: np.ndarray) -> str | None:
    """The palette colour of an object whose RGB contrast to the background is `contrast`; None when none fits.

    It is the nearest in CIELAB, at most COLOUR_LIMIT away, and its contrast must be about as strong as that colour's.
    """
    rgb = contrast + np.array(BACKGROUND)
    distances = np.linalg.norm(lab(np.array(list(COLOURS.values()), float)) - lab(rgb), axis=-1)
    name = list(COLOURS)[distances.argmin()]
    expected = np.subtract(COLOURS[name], BACKGROUND)
    strength = float(contrast @ expected / (expected @ expected))
    return name if distances.min() < COLOUR_LIMIT and LEAST_STRENGTH < strength < 1 / LEAST_STRENGTH else None
