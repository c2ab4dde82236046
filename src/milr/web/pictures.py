"""Pictures to and from the text in which the protocol carries them. What clients send is bounded before it is read."""

from __future__ import annotations

import base64
import binascii
import io
import re

from PIL import Image, UnidentifiedImageError

from milr.web.errors import ApiError
from milr.web.fields import Format

READ = ("PNG", "JPEG", "WEBP")
_DATA_URL = re.compile(r"data:image/(?:png|jpeg|jpg|webp);base64,", re.IGNORECASE)


def encode(picture: Image.Image, form: Format = "png", compression: int = 100) -> str:
    """The picture as base64; `compression` is the quality of jpeg and webp, 0 to 100 (100: lossless webp)."""
    content = io.BytesIO()
    settings = {} if form == "png" else {"quality": compression, "lossless": compression == 100}
    picture.convert("RGB").save(content, form.upper(), **settings)
    return base64.b64encode(content.getvalue()).decode()


def png(picture: Image.Image) -> bytes:
    """The picture as the bytes of a PNG."""
    content = io.BytesIO()
    picture.convert("RGB").save(content, "PNG")
    return content.getvalue()


def decode_data_url(url: str, *, pixels: int, param: str) -> Image.Image:
    """The picture in a data URL, as RGB; ApiError for any other address, and for one of more than `pixels`."""
    head = _DATA_URL.match(url)
    if head is None:
        raise ApiError(f"{param}: send the picture as a data URL (data:image/png;base64,...); png, jpeg and webp are "
                       "read, and no address is fetched.", param=param, code="invalid_image_url")  # fmt: skip
    try:
        content = base64.b64decode(url[head.end() :], validate=True)
        with Image.open(io.BytesIO(content), formats=READ) as file:
            if file.width * file.height > pixels:
                raise ApiError(f"{param}: the picture has more than {pixels:,} pixels.", param=param,
                               code="image_too_large")  # fmt: skip
            return file.convert("RGB")
    except (binascii.Error, OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):
        raise ApiError(f"{param}: that is no picture that can be read.", param=param, code="invalid_image") from None
