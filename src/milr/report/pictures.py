"""Pictures of a run as data URIs, so that a page carries everything it shows."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

SMALL = 128  # pixels; up to here a picture is embedded as it is and scaled up with hard edges
LARGE, THUMBNAIL = 448, 176


@dataclass(frozen=True)
class Embedded:
    """A picture inside the page. `uri` is empty when the file is missing or damaged."""

    uri: str
    pixelated: bool


def embed(path: Path, side: int) -> Embedded:
    """The picture at `path`: a small one unchanged, a bigger one as a JPEG with sides of at most `side`."""
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as picture:
            if max(picture.size) <= SMALL:
                return Embedded(_uri("png", content), True)
            return Embedded(_uri("jpeg", _shrunk(picture, side)), False)
    except (OSError, UnidentifiedImageError):
        return Embedded("", False)


def _shrunk(picture: Image.Image, side: int) -> bytes:
    small = picture.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    small.save(content, format="JPEG", quality=88)
    return content.getvalue()


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
