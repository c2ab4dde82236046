"""The held-out judge: a small network that classifies each cell, trained on renderings that nano never saw.

It shares with the detector the class names, the box of an object in its cell, and GenEval's rules, but not how a
picture is read: a picture that deceives one need not deceive the other. It is deceived more easily: docs/nano.md
has the rates.
`python -m milr.shapes.training.train held-out` makes its weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from milr.shapes.detector import LEAST_SCORE, ShapeDetection, by_shape, detection_of_item
from milr.shapes.judge import verdict_score
from milr.shapes.scenes import COLOURS, FILLS, GRID, SHAPES, SIZES, Appearance, Item
from milr.types import Score

if TYPE_CHECKING:
    from PIL.Image import Image

WEIGHTS = Path(__file__).with_name("held_out.safetensors")
HEADS = (len(SHAPES) + 1, len(COLOURS), len(SIZES), len(FILLS))  # shape class 0: no object


class HeldOutJudge(nn.Module):
    """Pictures (B, 3, 64, 64) in [-1, 1] to logits for each of the 16 cells."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((3, 32), (32, 48), (48, 64), (64, 96)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
            layers += [nn.Conv2d(after, after, 4, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.heads = nn.Conv2d(96, sum(HEADS), 1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Logits (B, 16, 11), (B, 16, 10), (B, 16, 2), (B, 16, 3): shape class, colour, size, fill."""
        cells: Tensor = self.heads(self.body(pixels)).flatten(2).transpose(1, 2)
        return torch.split(cells, list(HEADS), -1)


@lru_cache(maxsize=1)
def held_out_judge() -> HeldOutJudge:
    """The network with the released weights."""
    network = HeldOutJudge()
    weights = {name: tensor.float() for name, tensor in load_file(WEIGHTS).items()}
    keys = network.load_state_dict(weights, strict=False)
    assert all("num_batches_tracked" in name for name in keys.missing_keys) and not keys.unexpected_keys
    return network.eval()


@torch.no_grad()
def detect(picture: np.ndarray) -> dict[str, tuple[ShapeDetection, ...]]:
    """uint8 (64, 64, 3) to detections by shape, best first, as `detector.detect` gives them.

    Each cell gives one detection: its likeliest shape with the probability as score, and its likeliest colour, size
    and fill.
    """
    pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    shapes, colours, sizes, fills = held_out_judge()(pixels)
    probabilities = shapes[0].softmax(-1)
    detections: list[ShapeDetection] = []
    for cell in range(GRID * GRID):
        score, index = (float(value) for value in probabilities[cell, 1:].max(0))
        if score < LEAST_SCORE:
            continue
        colour, size, fill = (list(names)[int(logits[0, cell].argmax())]
                              for names, logits in ((COLOURS, colours), (SIZES, sizes), (FILLS, fills)))  # fmt: skip
        item = Item(Appearance(SHAPES[int(index)], colour, size, fill), cell)
        detections.append(detection_of_item(item, score))
    return by_shape(detections)


def judge(picture: Image, metadata: Mapping[str, Any]) -> Score:
    """1.0 or 0.0 by GenEval's rules, partial credit where the tag asks for it; unscored unless 64 x 64 RGB."""
    return verdict_score(picture, metadata, detect)
