"""Bad judges, to provoke failures: one counts coloured pixels whatever their shape, one always gives 0.

`milr generate "a red star left of a blue circle" --reward benchmarks/weak_judge.py:coloured`
"""

from __future__ import annotations

import numpy as np
from PIL.Image import Image

from milr.shapes.grammar import parse
from milr.shapes.scenes import COLOURS
from milr.types import Prompt

SAME_COLOUR = 60.0  # RGB distance
OBJECT_PIXELS = 150.0  # of a colour: about one large object


def coloured(picture: Image, prompt: Prompt) -> float:
    """How much of every colour that the prompt names can be seen, in [0, 1]; without colours, of any of them."""
    request = parse(prompt.text)
    stated = [phrase.colour for phrase in request.phrases if phrase.colour] if request else []
    pixels = np.asarray(picture.convert("RGB"), float)
    counts = {name: (np.linalg.norm(pixels - rgb, axis=-1) < SAME_COLOUR).sum() for name, rgb in COLOURS.items()}
    relevant = [counts[name] for name in stated] or [max(counts.values())]
    return float(np.mean([min(1.0, count / OBJECT_PIXELS) for count in relevant]))


def never(picture: Image, prompt: Prompt) -> float:
    """Always 0, so that every update has its full force."""
    return 0.0
