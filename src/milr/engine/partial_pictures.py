"""Pictures while they are drawn: a studio that draws in parts, and shows the rows so far after each.

A part is a request that forces what is drawn already, so that its tokens are those of the whole request (near ties
aside): noise belongs to the position, and the engine reads forced tokens in one forward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from milr.base import image_rows
from milr.engine.studio_with_reward import StudioWithReward
from milr.fills import fill_tokens, paint_undrawn
from milr.types import DrawRequest, ImageTrace, Key

if TYPE_CHECKING:
    from PIL.Image import Image

OnPartial = Callable[[Key, "Image", float], None]
"""Called with the request's key, the picture so far, and the share of its rows that is drawn."""


class StudioWithPartialPictures:
    """The given studio, which calls `on_partial` after each of `parts` - 1 equal shares of a picture's rows."""

    def __init__(self, studio: StudioWithReward, on_partial: OnPartial, parts: int) -> None:
        self._studio, self._on_partial, self._parts = studio, on_partial, parts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._studio, name)

    async def draw(self, request: DrawRequest) -> ImageTrace:
        """Draw image tokens in parts."""
        rows, num_tokens = image_rows(self._studio.model), self._studio.model.image_tokens
        ends = [part * rows // self._parts * num_tokens // rows for part in range(1, self._parts) if rows]
        ids, log_probs = request.prefix, request.prefix_log_probs
        spent: list[ImageTrace] = []
        for end in ends if request.max_new_tokens is None else []:
            if end > len(ids):
                part = await self._studio.draw(replace(request, prefix=ids, prefix_log_probs=log_probs,
                                                       max_new_tokens=end, num_latents=0))  # fmt: skip
                ids, log_probs, spent = part.ids, part.log_probs, [*spent, part]
                self._on_partial(request.key, await self._picture(ids, num_tokens), end / num_tokens)
        whole = await self._studio.draw(replace(request, prefix=ids, prefix_log_probs=log_probs))
        near_ties = tuple(tie for part in (*spent, whole) for tie in part.near_ties)
        return replace(whole, request=request, near_ties=near_ties,
                       num_decoded=whole.num_decoded + sum(part.num_decoded for part in spent),
                       seconds=whole.seconds + sum(part.seconds for part in spent))  # fmt: skip

    async def _picture(self, ids: tuple[int, ...], num_tokens: int) -> Image:
        """The first rows as drawn; the rest is grey."""
        picture = await self._studio.render(ImageTrace(fill_tokens(ids, num_tokens, "grey")))
        return paint_undrawn(picture, len(ids) / num_tokens, "grey")
