"""Pictures that others made, decoded within bounds of bytes and pixels."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from milr.inputs.files import MEBIBYTE, read_file
from milr.types import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 64 * MEBIBYTE
MAX_PIXELS = 64_000_000  # 8000 x 8000
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


def read_picture_file(path: Path) -> bytes:
    """The content of a picture's file; UsageError for a pipe, a device, a link to one, or more than MAX_BYTES."""
    return read_file(path, MAX_BYTES)


def decode_picture(content: bytes, name: str) -> Image:
    """The picture in RGB; UsageError where it has more than MAX_PIXELS, which is seen before it is decoded.

    A decoder may raise anything about a damaged file.
    """
    from PIL import Image as images

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", images.DecompressionBombWarning)  # our own limit decides
        with images.open(io.BytesIO(content)) as file:
            if file.width * file.height > MAX_PIXELS:
                raise UsageError(f"{name} has {file.width} x {file.height} pixels, and at most {MAX_PIXELS} are read: "
                                 "scale it down.")  # fmt: skip
            return file.convert("RGB")
