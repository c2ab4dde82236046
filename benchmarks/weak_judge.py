"""Bad judges, for showing failures: one counts coloured pixels and never looks at shapes, one is never content.

`milr generate "a red star left of a blue circle" --reward benchmarks/weak_judge.py:coloured`
"""

from __future__ import annotations

import numpy as np
from PIL.Image import Image

from milr.shapes.grammar import parse
from milr.shapes.scenes import COLOURS
from milr.types import Prompt

NEAR = 60.0  # RGB distance
ENOUGH = 150.0  # pixels of a colour, about one large object


def coloured(picture: Image, prompt: Prompt) -> float:
    """How much of every colour that the prompt names can be seen, in [0, 1]; without colours, of any of them."""
    request = parse(prompt.text)
    named = [phrase.colour for phrase in request.phrases if phrase.colour] if request else []
    pixels = np.asarray(picture.convert("RGB"), float)
    counts = {name: (np.linalg.norm(pixels - rgb, axis=-1) < NEAR).sum() for name, rgb in COLOURS.items()}
    wanted = [counts[name] for name in named] or [max(counts.values())]
    return float(np.mean([min(1.0, count / ENOUGH) for count in wanted]))


def never(picture: Image, prompt: Prompt) -> float:
    """Always 0, so that every update has its full force."""
    return 0.0
