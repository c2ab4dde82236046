"""Pictures that nano draws, in batches, for the benchmarks beside this file."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL.Image import Image

from milr.models.janus import JanusModel
from milr.templates import drawing
from milr.types import DrawRequest, Key, Prompt, ReasonRequest

BATCH = 32


def batches(rows: Sequence, make: Callable) -> list:
    """`make` over the rows, BATCH at a time."""
    return [made for at in range(0, len(rows), BATCH) for made in make(rows[at : at + BATCH])]


def draw(model: JanusModel, chosen: Sequence[Prompt], texts: Sequence[str | None], seed: int,
         guidance_scale: float | None = None) -> list[Image]:  # fmt: skip
    """One picture for each prompt and visualisation (None: the bare prompt), at nano's own guidance unless told."""
    scale = model.guidance_scale if guidance_scale is None else guidance_scale
    requests = [DrawRequest(drawing(prompt.text, text), Key(seed, prompt.text, 0), scale)
                for prompt, text in zip(chosen, texts, strict=True)]  # fmt: skip
    traces = batches(requests, model.draw)
    return batches([trace.ids for trace in traces], model.render)


def thoughts(model: JanusModel, chosen: Sequence[Prompt], seed: int = 0) -> list[str]:
    """Nano's greedy visualisations."""
    asked = [ReasonRequest(prompt.text, Key(seed, prompt.text, 0)) for prompt in chosen]
    return [trace.text for trace in batches(asked, model.reason)]
