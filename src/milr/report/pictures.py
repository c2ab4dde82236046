"""Pictures of a run as data URIs, so that a page contains every picture it shows."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

SMALL = 128  # pixels; up to this side a picture is embedded unchanged and enlarged with hard edges
LARGE, THUMBNAIL = 448, 176


@dataclass(frozen=True)
class EmbeddedPicture:
    """A picture in a page. `uri` is empty when the file is missing or damaged."""

    uri: str
    pixelated: bool


def embed(path: Path, side: int) -> EmbeddedPicture:
    """The picture at `path`: a small one unchanged, a larger one as a JPEG with sides of at most `side` pixels."""
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as picture:
            if max(picture.size) <= SMALL:
                return EmbeddedPicture(_data_uri("png", content), True)
            return EmbeddedPicture(_data_uri("jpeg", _resize(picture, side)), False)
    except (OSError, UnidentifiedImageError):
        return EmbeddedPicture("", False)


def _resize(picture: Image.Image, side: int) -> bytes:
    small = picture.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    small.save(content, format="JPEG", quality=88)
    return content.getvalue()


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
