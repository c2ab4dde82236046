"""Pictures that nano draws, in batches, for the benchmarks beside this file."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL.Image import Image

from milr.models.janus import JanusModel
from milr.templates import drawing
from milr.types import DrawRequest, Key, Prompt, ReasonRequest

BATCH = 32


def batches(rows: Sequence, make: Callable) -> list:
    """What `make` returns for the rows, called with BATCH of them at a time."""
    return [result for start in range(0, len(rows), BATCH) for result in make(rows[start : start + BATCH])]


def draw(model: JanusModel, prompts: Sequence[Prompt], texts: Sequence[str | None], *, seed: int,
         guidance_scale: float | None = None) -> list[Image]:  # fmt: skip
    """One picture for each prompt and visualisation (None: the bare prompt); no scale: nano's own guidance."""
    scale = model.guidance_scale if guidance_scale is None else guidance_scale
    requests = [DrawRequest(drawing(prompt.text, text), Key(seed, prompt.text, 0), scale)
                for prompt, text in zip(prompts, texts, strict=True)]  # fmt: skip
    traces = batches(requests, model.draw)
    return batches([trace.ids for trace in traces], model.render)


def visualisations(model: JanusModel, prompts: Sequence[Prompt], seed: int = 0) -> list[str]:
    """Nano's greedy visualisations."""
    requests = [ReasonRequest(prompt.text, Key(seed, prompt.text, 0)) for prompt in prompts]
    return [trace.text for trace in batches(requests, model.reason)]
