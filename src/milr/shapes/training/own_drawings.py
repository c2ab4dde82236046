"""Nano's own drawings of training prompts, about which it learns last to answer questions: it will judge such."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from milr import templates
from milr.models.janus import JanusModel
from milr.shapes.detector import detect
from milr.shapes.grammar import Request
from milr.shapes.sampling import SHARES, training_prompt
from milr.shapes.splits import is_held_out
from milr.shapes.training.verdicts import Detections
from milr.types import DrawRequest, Key, ReasonRequest

BATCH = 32
LONGEST = 96  # tokens of a visualisation; nano's are shorter
SCALES = (1.0, 1.25, 1.5)  # of guidance
HARD_SHARES = {"described": 0.12, "described_position": 0.12, "described_count": 0.06}
PROMPT_SHARES = {name: 0.7 * share for name, share in SHARES.items()} | HARD_SHARES


@dataclass(frozen=True)
class OwnDrawing:
    """A picture (64, 64, 3) uint8 that nano drew of a training prompt, and what the detector finds in it."""

    request: Request
    text: str
    picture: np.ndarray
    detections: Detections


def own_drawings(model: JanusModel, count: int, seed: int) -> list[OwnDrawing]:
    """`count` drawings, half of them from nano's own greedy visualisation, at several guidance scales."""
    rng = np.random.default_rng(seed)
    prompts = [training_prompt(rng, is_held_out, PROMPT_SHARES) for _ in range(count)]
    batches = [prompts[start : start + BATCH] for start in range(0, count, BATCH)]
    return [drawing for number, batch in enumerate(batches) for drawing in _batch(model, batch, seed, number)]


def _batch(model: JanusModel, prompts: Sequence[tuple[Request, str]], seed: int, number: int) -> list[OwnDrawing]:
    keys = [Key(seed, text, number * BATCH + row) for row, (_, text) in enumerate(prompts)]
    half = len(prompts) // 2
    visualisations = model.reason([ReasonRequest(key.prompt, key, max_new_tokens=LONGEST) for key in keys[:half]])
    texts = [*(trace.text for trace in visualisations), *[None] * (len(prompts) - half)]
    requests = [DrawRequest(templates.drawing(key.prompt, text), key, SCALES[row % len(SCALES)])
                for row, (key, text) in enumerate(zip(keys, texts, strict=True))]  # fmt: skip
    pictures = map(np.asarray, model.render([trace.ids for trace in model.draw(requests)]))
    return [OwnDrawing(request, text, picture, detect(picture))
            for (request, text), picture in zip(prompts, pictures, strict=True)]  # fmt: skip
