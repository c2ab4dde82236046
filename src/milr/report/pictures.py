"""Pictures of a run as data URIs, so that a page contains every picture it shows."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from milr.runs.files import DamagedError, read_bounded
from milr.runs.record_files import MAX_PICTURE_BYTES, MAX_PIXELS, read_picture
from milr.runs.records import StepRecord

SMALL = 128  # pixels; up to this side a picture is embedded unchanged and enlarged with hard edges
LARGE, MIDDLE, THUMBNAIL = 448, 256, 176


@dataclass(frozen=True)
class EmbeddedPicture:
    """A picture in a page. `uri` is empty when the file is missing or damaged."""

    uri: str
    pixelated: bool


def embed(path: Path, side: int) -> EmbeddedPicture:
    """The picture at `path`: a small one unchanged, a larger one as a JPEG with sides of at most `side` pixels.

    `uri` is empty where it cannot be read, or where one of the two folders that hold it in a run is a link.
    """
    if path.parent.is_symlink() or path.parent.parent.is_symlink():
        return EmbeddedPicture("", False)
    try:
        return _embed(read_bounded(path, MAX_PICTURE_BYTES), side)
    except OSError:
        return EmbeddedPicture("", False)


def embed_step(folder: Path, step: StepRecord, side: int) -> EmbeddedPicture:
    """The picture of a step as it was written, as `embed` does it; `uri` is empty where it is missing or damaged."""
    try:
        return _embed(read_picture(folder, step), side)
    except DamagedError:
        return EmbeddedPicture("", False)


def _embed(content: bytes, side: int) -> EmbeddedPicture:
    try:
        with Image.open(io.BytesIO(content)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                return EmbeddedPicture("", False)
            if max(picture.size) <= SMALL:
                return EmbeddedPicture(_data_uri("png", content), True)
            return EmbeddedPicture(_data_uri("jpeg", _resize(picture, side)), False)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):
        return EmbeddedPicture("", False)


def _resize(picture: Image.Image, side: int) -> bytes:
    small = picture.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    small.save(content, format="JPEG", quality=88)
    return content.getvalue()


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
