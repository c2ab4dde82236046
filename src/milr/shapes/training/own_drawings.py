"""Nano's own drawings of training prompts: what its looking is taught on last, for those are what it will judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from milr.models.janus import JanusModel
from milr.shapes.detector import detect
from milr.shapes.grammar import Request
from milr.shapes.sampling import SHARES, training_prompt
from milr.shapes.splits import held_out
from milr.shapes.training.verdicts import Seen
from milr.templates import drawing
from milr.types import DrawRequest, Key, ReasonRequest

BATCH = 32
LONGEST = 96  # tokens of a visualisation; nano's are shorter
SCALES = (1.0, 1.25, 1.5)  # of guidance
HARDER = {"described": 0.12, "described_position": 0.12, "described_count": 0.06}
ASKED = {name: 0.7 * share for name, share in SHARES.items()} | HARDER


@dataclass(frozen=True)
class OwnDrawing:
    """A picture (64, 64, 3) uint8 that nano drew of a training prompt, and what the detector sees in it."""

    request: Request
    text: str
    picture: np.ndarray
    seen: Seen


def own_drawings(model: JanusModel, count: int, seed: int) -> list[OwnDrawing]:
    """`count` drawings, half of them with nano's own greedy visualisation, at several guidance scales."""
    rng = np.random.default_rng(seed)
    asked = [training_prompt(rng, held_out, ASKED) for _ in range(count)]
    batches = [asked[at : at + BATCH] for at in range(0, count, BATCH)]
    return [drawn for number, batch in enumerate(batches) for drawn in _batch(model, batch, seed, number)]


def _batch(model: JanusModel, asked: Sequence[tuple[Request, str]], seed: int, number: int) -> list[OwnDrawing]:
    keys = [Key(seed, text, number * BATCH + row) for row, (_, text) in enumerate(asked)]
    half = len(asked) // 2
    thoughts = model.reason([ReasonRequest(key.prompt, key, max_new_tokens=LONGEST) for key in keys[:half]])
    texts = [*(trace.text for trace in thoughts), *[None] * (len(asked) - half)]
    requests = [DrawRequest(drawing(key.prompt, text), key, SCALES[row % len(SCALES)])
                for row, (key, text) in enumerate(zip(keys, texts, strict=True))]  # fmt: skip
    pictures = map(np.asarray, model.render([trace.ids for trace in model.draw(requests)]))
    return [OwnDrawing(request, text, picture, detect(picture))
            for (request, text), picture in zip(asked, pictures, strict=True)]  # fmt: skip
