"""A picture as a part of a page, for notebooks."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def figure_of(picture: Image, caption: str) -> str:
    """A picture inside a page, at least 192 pixels wide so that small ones can be seen."""
    content = io.BytesIO()
    picture.save(content, format="PNG")
    source = base64.b64encode(content.getvalue()).decode()
    words, width = html.escape(caption), max(192, picture.width)
    return (f'<figure style="display:inline-block;margin:4px"><img alt="{words}" width="{width}" '
            f'style="image-rendering:pixelated" src="data:image/png;base64,{source}">'
            f"<figcaption>{words}</figcaption></figure>")  # fmt: skip
