"""A reward in a file: `milr generate PROMPT --reward examples/large_objects.py:large_objects`."""

import numpy as np
from PIL.Image import Image

from milr.types import Prompt


def large_objects(picture: Image, prompt: Prompt) -> float:
    """The share of pixels that are not the ground, times four, at most 1."""
    pixels = np.asarray(picture, dtype=float)
    ground = np.median(pixels.reshape(-1, 3), axis=0)
    covered = float((np.abs(pixels - ground).max(axis=-1) > 40).mean())
    return min(1.0, 4 * covered)
