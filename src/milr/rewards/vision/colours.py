"""GenEval's colours: CLIP's closest of ten colour names for an object cut out of the picture.

Pixels outside the object's mask become grey, the picture is cropped to its box, and the crop is compared with three
prompts for each colour (djghosh13/geneval af4902f). One crop is encoded at a time, in float32 (GenEval: float16).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as images
from torch import Tensor
from torch.nn.functional import normalize

from milr.rewards.vision.clip import ClipEncoder
from milr.rewards.vision.pinned import CLIP_L14
from milr.rules.geneval import Classifier, Detection

if TYPE_CHECKING:
    from PIL.Image import Image

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
PROMPTS = ("a photo of a {c} {k}", "a photo of a {c}-colored {k}", "a photo of a {c} object")
GREY = 0x99


class ColourClassifier:
    """Names the colours of the objects of a picture; what a class's prompts mean is worked out once."""

    def __init__(self, clip: ClipEncoder) -> None:
        self.clip = clip
        self._meanings: dict[str, Tensor] = {}

    @classmethod
    def load(cls, name: str = CLIP_L14, *, device: str = "auto") -> ColourClassifier:
        """From a folder or hub repository; MissingError where the weights are not here."""
        return cls(ClipEncoder.load(name, device=device))

    def of(self, picture: Image) -> Classifier:
        """The classifier of one picture, as `rules.geneval.judge` wants it."""

        def classify(name: str, objects: Sequence[Detection]) -> list[str]:
            return [self.colour(cut_out(picture, one), name) for one in objects]

        return classify

    def colour(self, crop: Image, name: str) -> str:
        """The colour whose prompts about the class `name` are closest to the crop, by cosine."""
        closeness = self.meanings(name) @ self.clip.picture(crop)  # (10,)
        return COLOURS[int(closeness.argmax())]

    def meanings(self, name: str) -> Tensor:
        """(10, d) unit vectors: for each colour the mean of its three prompts' unit vectors, normalised again."""
        if name not in self._meanings:
            texts = [prompt.format(c=colour, k=name) for colour in COLOURS for prompt in PROMPTS]
            vectors = self.clip.texts(texts).reshape(len(COLOURS), len(PROMPTS), -1)
            self._meanings[name] = normalize(vectors.mean(1), dim=-1)
        return self._meanings[name]


def cut_out(picture: Image, one: Detection) -> Image:
    """The object on grey, cropped to its box; corners are rounded to the nearest pixel, halves to the even one."""
    pixels = np.array(picture.convert("RGB"))
    if one.mask is not None:
        pixels[~one.mask] = GREY
    left, top, right, bottom = (round(side) for side in one.box)
    return images.fromarray(pixels).crop((left, top, right, bottom))
