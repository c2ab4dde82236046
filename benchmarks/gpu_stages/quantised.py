"""Stage 12: weights in 4 and 8 bits, loaded as a user loads them: do they capture, from when are they slower."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import random_janus
import torch

from gpu_stages.finding import Card, Finding, Skipped, draw
from milr.models.janus import JanusModel
from milr.models.quantised import PACKAGES

TOKENS = 64


def quantised(card: Card) -> Iterator[Finding]:
    """Milliseconds a step at 2, 8 and 32 pictures beside bfloat16's."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise Skipped(f"{' and '.join(missing)} not here: carry the wheels (docs/howto/gpu-check.md)")
    with tempfile.TemporaryDirectory() as folder:
        random_janus.save(card.size, Path(folder))
        for kind in (None, "8bit", "4bit") if card.is_cuda else (None, "8bit"):  # tiny's widths are no 4-bit blocks
            yield _measured(card, Path(folder), kind)


def _measured(card: Card, folder: Path, kind: str | None) -> Finding:
    began = time.perf_counter()
    templates = random_janus.templates(random_janus.SIZES[card.size])
    model = JanusModel.load(folder, quantise=kind, templates=templates, name=f"random-{card.size}")
    card.wait()
    numbers: dict[str, Any] = {"seconds_to_load": time.perf_counter() - began}
    if card.is_cuda:
        numbers["gib"] = torch.cuda.memory_allocated() / 2**30
    tokens = min(TOKENS, model.image_tokens)
    for count in (2, 8, 32) if card.is_cuda else (2,):
        traces = draw(model, range(count), max_new_tokens=tokens)
        seconds = card.seconds(lambda count=count: draw(model, range(count), max_new_tokens=tokens))
        numbers[f"ms_a_step_of_{count}"] = 1e3 * seconds / tokens
    numbers["captures"] = model._engine.num_captures
    drawn = all(len(trace.ids) == tokens for trace in traces)
    return Finding(f"weights in {kind or 'their own dtype'}", drawn, numbers)
