"""A plain function as the reward that guides a search, and another judge that says whether the prompt still holds."""

import numpy as np
from PIL.Image import Image

import milr


def redness(picture: Image, prompt: milr.Prompt) -> float:
    """How far red outshines green and blue, on average over the picture, times eight; between 0 and 1."""
    red, green, blue = np.moveaxis(np.asarray(picture, dtype=float) / 255, -1, 0)
    return float(np.clip(8 * (red - np.maximum(green, blue)).clip(0).mean(), 0, 1))


outcome = milr.generate(
    "a photo of three red hearts",
    reward=redness,  # guides the search
    metric="detector",  # judges the result; the search never sees it
    method="redraw_sampled",
    pictures=4,
    stop=False,  # take the best of all four
    seed=1,
)
for step in outcome.steps:
    print(f"step {step.index}: redness {step.score.value:.2f}")
print(f"returned step {outcome.returned}; the detector says {outcome.judged[outcome.returned].value}")
outcome.picture.save("three-red-hearts.png")
