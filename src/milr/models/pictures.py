"""Pictures in and out of a model: its preprocessing (equal to transformers' JanusImageProcessor), and pixels to PIL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image
from torch import Tensor

_FILES = ("preprocessor_config.json", "processor_config.json")


@dataclass(frozen=True)
class Preprocessing:
    """Longest side to `size`, padded to a square with the mean colour, scaled to [0, 1], normalised per channel."""

    size: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    deviation: tuple[float, ...] = (0.5, 0.5, 0.5)
    minimum: int = 14
    resample: int = Image.Resampling.BICUBIC

    @staticmethod
    def of(folder: Path, size: int) -> Preprocessing:
        """What the folder's processor file says; `size` and Janus's own values where it says nothing."""
        told = _settings(folder)
        plain = Preprocessing(size)
        return Preprocessing(
            size=told.get("size", {}).get("height", size),
            mean=tuple(told.get("image_mean", plain.mean)),
            deviation=tuple(told.get("image_std", plain.deviation)),
            minimum=told.get("min_size", plain.minimum),
            resample=told.get("resample", plain.resample),
        )

    def __call__(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Pictures to pixel values. (B, 3, size, size), fp32"""
        pixels = numpy.stack([numpy.asarray(self._square(picture)) for picture in pictures]).astype(numpy.float32)
        scaled = torch.from_numpy(pixels * numpy.float32(1 / 255))
        normalised = (scaled - torch.tensor(self.mean)) / torch.tensor(self.deviation)
        return normalised.permute(0, 3, 1, 2).contiguous()

    def _square(self, picture: Image.Image) -> Image.Image:
        """Resized and padded to (size, size)."""
        scale = self.size / max(picture.size)
        width, height = (max(round(side * scale), self.minimum) for side in picture.size)
        resized = picture.convert("RGB").resize((width, height), self.resample)
        if width == height:
            return resized
        longest = max(width, height)
        background = Image.new("RGB", (longest, longest), tuple(int(channel * 255) for channel in self.mean))
        background.paste(resized, ((longest - width) // 2, (longest - height) // 2))
        return background


def _settings(folder: Path) -> dict[str, Any]:
    for name in _FILES:
        if (folder / name).is_file():
            told: dict[str, Any] = json.loads((folder / name).read_text())
            nested: dict[str, Any] = told.get("image_processor", told)
            return nested
    return {}


def to_pictures(pixels: Tensor) -> list[Image.Image]:
    """Decoded pixels (B, H, W, 3), about -1..1 and not clipped, to pictures."""
    values = ((pixels.float() + 1) / 2 * 255).clamp(0, 255).to(torch.uint8).cpu().numpy()
    return [Image.fromarray(array) for array in values]
