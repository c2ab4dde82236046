"""Draw again and again: one draw is `plain` or `text_enhanced`, more under a stop rule are Best-of-N or `resample`.

Where the visualisation comes from: none (the bare prompt), one greedy visualisation, or a fresh sample every time.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Literal

from milr.base import Method, StudioFace
from milr.methods.rollout import draw_and_score, make_step
from milr.templates import drawing
from milr.types import DrawRequest, Key, Prompt, ReasonRequest, Step, TextTrace

Visualise = Literal["none", "greedy", "sampled"]


def redraw(*, visualise: Visualise, guidance_scale: float | None = None, temperature: float = 1.0,
           visualisation: str | None = None) -> Method:  # fmt: skip
    """The method; `visualisation` supplies the text instead of the model's own. guidance_scale None: the model's."""

    async def method(studio: StudioFace, prompt: Prompt, key: Key) -> AsyncIterator[Step]:
        text: TextTrace | None = None
        for index in itertools.count():
            now = key.at(index)
            written = None
            if visualisation is None and (visualise == "sampled" or (visualise == "greedy" and index == 0)):
                heat = 1.0 if visualise == "sampled" else 0.0
                text = written = await studio.reason(ReasonRequest(prompt.text, now, temperature=heat))
            said = visualisation if visualisation is not None else text.text if text else None
            scale = studio.model.guidance_scale if guidance_scale is None else guidance_scale
            request = DrawRequest(drawing(prompt.text, said), now, scale, temperature=temperature)
            shown = text if visualisation is None else TextTrace(visualisation, ())
            rollout, score = await draw_and_score(studio, prompt, shown, request)
            yield make_step(index, rollout, score, written=written, text_changed=visualise == "sampled" and index > 0)

    return method
