"""Draw again and again: one draw is `plain` or `text_enhanced`, more under a stop rule are Best-of-N or `resample`.

Where the visualisation comes from: none (the bare prompt), one greedy visualisation, or a fresh sample every time.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Literal

from milr.base import Method, StudioFace
from milr.latent.released import Quirks
from milr.methods.rollout import draw_and_score, make_step
from milr.types import Key, Prompt, Step, TextTrace

Visualise = Literal["none", "greedy", "sampled"]
NO_QUIRKS = Quirks()


def redraw(*, visualise: Visualise, guidance_scale: float | None = None, temperature: float = 1.0,
           visualisation: str | None = None, quirks: Quirks = NO_QUIRKS) -> Method:  # fmt: skip
    """The method; `visualisation` supplies the text instead of the model's own. guidance_scale None: the model's."""

    async def method(studio: StudioFace, prompt: Prompt, key: Key) -> AsyncIterator[Step]:
        scale = studio.model.guidance_scale if guidance_scale is None else guidance_scale
        text = None if visualisation is None else TextTrace(visualisation, ())
        for index in itertools.count():
            written: TextTrace | None = None
            if visualisation is None and (visualise == "sampled" or (visualise == "greedy" and index == 0)):
                text_temperature = 1.0 if visualise == "sampled" else 0.0
                request = quirks.reason_request(prompt.text, key.at(index), temperature=text_temperature)
                text = written = await studio.reason(request)
            draw = quirks.draw_request(prompt.text, text.text if text else None, key.at(index), scale,
                                       temperature=temperature)  # fmt: skip
            rollout, score = await draw_and_score(studio, prompt, text, draw)
            yield make_step(index, rollout, score, written=written, text_changed=visualise == "sampled" and index > 0)

    return method
