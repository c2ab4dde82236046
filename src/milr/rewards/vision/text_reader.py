"""Reads the text in a picture with RapidOCR, an ONNX build of PaddleOCR whose package brings its weights."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from milr.types import MissingError

if TYPE_CHECKING:
    from PIL.Image import Image

ReadText = Callable[["Image"], list[str]]  # the lines of text in a picture, as they are found
SHORTEST_SIDE = 256  # pixels; smaller pictures are enlarged to it, below which letters of a few pixels are not found


class TextReader:
    """RapidOCR's detector and recogniser with their default settings, on the CPU."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    @classmethod
    def load(cls) -> TextReader:
        """Load the package's own weights; MissingError where it is not installed."""
        try:
            from rapidocr import RapidOCR
        except ImportError as error:
            raise MissingError("the reward ocr reads text with RapidOCR; install milr[ocr].") from error
        return cls(RapidOCR(params={"Global.log_level": "critical"}))

    def identity(self) -> dict[str, Any]:
        """The versions that decide what is read."""
        return {"reader": f"rapidocr {metadata.version('rapidocr')}"}

    def __call__(self, picture: Image) -> list[str]:
        """The lines of text in the picture; [] where there is none."""
        scale = max(1, -(-SHORTEST_SIDE // min(picture.size)))
        larger = picture.convert("RGB").resize((picture.width * scale, picture.height * scale))
        found = self.engine(np.asarray(larger)[:, :, ::-1].copy())  # OpenCV's order: blue, green, red
        return list(found.txts or ())
