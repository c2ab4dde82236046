"""GenEval's colours: which of ten colour names CLIP finds closest to an object that is cut out of the picture.

Pixels outside the object's mask become grey, the picture is cropped to the object's box, and the crop is compared with
three prompts for each colour (djghosh13/geneval af4902f). One crop is encoded at a time, in float32 (GenEval: float16).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as pil
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
    """Names the colours of the objects in a picture; the text embeddings of each object class are computed once."""

    def __init__(self, encoder: ClipEncoder) -> None:
        self.encoder = encoder
        self._text_embeddings: dict[str, Tensor] = {}

    @classmethod
    def load(cls, name: str = CLIP_L14, *, device: str = "auto") -> ColourClassifier:
        """Load the weights of a folder or hub repository; MissingError where they are not here."""
        return cls(ClipEncoder.load(name, device=device))

    def for_picture(self, picture: Image) -> Classifier:
        """The classifier of one picture's objects, as `rules.geneval.judge` takes it."""

        def classify(class_name: str, objects: Sequence[Detection]) -> list[str]:
            return [self.colour(cut_out(picture, detection), class_name) for detection in objects]

        return classify

    def colour(self, crop: Image, class_name: str) -> str:
        """The colour whose prompts about the class are closest to the crop, by cosine."""
        cosines = self.text_embeddings(class_name) @ self.encoder.embed_picture(crop)  # (10,)
        return COLOURS[int(cosines.argmax())]

    def text_embeddings(self, class_name: str) -> Tensor:
        """(10, d) unit vectors: for each colour the mean of its three prompts' unit vectors, normalised again."""
        if class_name not in self._text_embeddings:
            texts = [prompt.format(c=colour, k=class_name) for colour in COLOURS for prompt in PROMPTS]
            vectors = self.encoder.embed_texts(texts).reshape(len(COLOURS), len(PROMPTS), -1)
            self._text_embeddings[class_name] = normalize(vectors.mean(1), dim=-1)
        return self._text_embeddings[class_name]


def cut_out(picture: Image, detection: Detection) -> Image:
    """The object on grey, cropped to its box; corners are rounded to the nearest pixel, halves to the even one."""
    pixels = np.array(picture.convert("RGB"))
    if detection.mask is not None:
        pixels[~detection.mask] = GREY
    left, top, right, bottom = (round(side) for side in detection.box)
    return pil.fromarray(pixels).crop((left, top, right, bottom))
