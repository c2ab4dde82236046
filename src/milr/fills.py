"""Partial pictures: what stands in the rows that are not drawn yet, so that a judge can look at the others.

A decoder of image tokens wants all of them. `Fill` says what it gets, and what of its picture is kept:

* repeat  the drawn tokens again and again, from the first
* draft   the tokens of another picture, such as the model's likeliest end of this one
* mean    the undrawn rows are painted in the mean colour of the drawn ones
* zeros   the undrawn rows are black
* grey    the undrawn rows are grey
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from PIL.Image import Image

Fill = Literal["repeat", "draft", "mean", "zeros", "grey"]
FILLS: tuple[Fill, ...] = get_args(Fill)
GREY, BLACK = (128, 128, 128), (0, 0, 0)


def fill_tokens(ids: Sequence[int], num_tokens: int, fill: Fill, draft: Sequence[int] = ()) -> tuple[int, ...]:
    """All `num_tokens` image tokens of a picture of which `ids`, at least one, are drawn.

    `draft` are all tokens of the picture whose end is borrowed, for the fill of that name. Where rows are painted
    afterwards, the last token stands for the others: the decoder's borders see what is drawn.
    """
    missing = num_tokens - len(ids)
    if fill == "repeat":
        return tuple(itertools.islice(itertools.cycle(ids), num_tokens))
    if fill == "draft":
        if len(draft) != num_tokens:
            raise ValueError(f"a draft has {num_tokens} tokens, not {len(draft)}")
        return (*ids, *draft[len(ids) :])
    return (*ids, *(tuple(ids[-1:]) * missing))


def paint_undrawn(picture: Image, share: float, fill: Fill) -> Image:
    """The picture with all below the first `share` of its rows painted as the fill says, RGB."""
    picture = picture.convert("RGB")
    drawn = int(picture.height * share)
    if fill in ("repeat", "draft") or drawn >= picture.height:
        return picture
    colour = {"zeros": BLACK, "grey": GREY}.get(fill) or _mean_colour(
        picture.crop((0, 0, picture.width, max(1, drawn)))
    )
    picture.paste(colour, (0, drawn, picture.width, picture.height))
    return picture


def _mean_colour(picture: Image) -> tuple[int, ...]:
    from PIL import ImageStat

    return tuple(round(value) for value in ImageStat.Stat(picture).mean)
