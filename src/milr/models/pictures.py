"""Pictures in and out of a model: its preprocessing (equal to transformers' JanusImageProcessor), and pixels to PIL."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image
from torch import Tensor

from milr.models.cpu_threads import one_thread
from milr.models.finite import check_finite
from milr.types import MissingError

MAX_SIDE = 4096  # pixels of a prepared picture
_FILES = ("preprocessor_config.json", "processor_config.json")


@dataclass(frozen=True)
class Preprocessing:
    """Longest side to `size`, padded to a square with the mean colour, scaled to [0, 1], normalised per channel."""

    size: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    min_size: int = 14
    resample: int = Image.Resampling.BICUBIC

    @staticmethod
    def of(folder: Path, size: int) -> Preprocessing:
        """The settings in the folder's processor file; `size` and Janus's own values where it has none.

        MissingError for settings that no picture can be prepared with.
        """
        settings = _settings(folder)
        defaults = Preprocessing(size)
        sides = settings.get("size", {})
        preprocessing = Preprocessing(
            size=sides.get("height", size) if isinstance(sides, dict) else sides,
            mean=tuple(settings.get("image_mean", defaults.mean)),
            std=tuple(settings.get("image_std", defaults.std)),
            min_size=settings.get("min_size", defaults.min_size),
            resample=settings.get("resample", defaults.resample),
        )
        preprocessing._check()
        return preprocessing

    def check_size(self, size: int) -> None:
        """MissingError for a size other than the vision tower's `size`."""
        if self.size != size:
            raise MissingError(f"the processor's pictures have {self.size} pixels a side and the model's {size}; fetch "
                               "the processor's file again.")  # fmt: skip

    def _check(self) -> None:
        """MissingError for values out of range."""
        numbers = (*self.mean, *self.std)
        if len(self.mean) != 3 or len(self.std) != 3 or not all(map(math.isfinite, numbers)) or 0 in self.std:
            raise MissingError(f"the processor's mean {self.mean} and deviation {self.std} are not three numbers each; "
                               "fetch the processor's file again.")  # fmt: skip
        if not 0 < self.min_size <= MAX_SIDE or self.resample not in list(Image.Resampling):
            raise MissingError(f"the processor says min_size {self.min_size} and resample {self.resample}; fetch the "
                               "processor's file again.")  # fmt: skip

    def __call__(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Pictures to pixel values. (B, 3, size, size), fp32"""
        pixels = numpy.stack([numpy.asarray(self._square(picture)) for picture in pictures]).astype(numpy.float32)
        scaled = torch.from_numpy(pixels * numpy.float32(1 / 255))
        normalised = (scaled - torch.tensor(self.mean)) / torch.tensor(self.std)
        return normalised.permute(0, 3, 1, 2).contiguous()

    def _square(self, picture: Image.Image) -> Image.Image:
        """Resized and padded to (size, size)."""
        scale = self.size / max(picture.size)
        width, height = (max(round(side * scale), self.min_size) for side in picture.size)
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
            settings: dict[str, Any] = json.loads((folder / name).read_text())
            image_settings: dict[str, Any] = settings.get("image_processor", settings)
            return image_settings
    return {}


def render_each_alone(ids: Tensor, decode: Callable[[Tensor], Tensor], model_name: str) -> list[Image.Image]:
    """Image tokens (B, N) to pictures, by a decoder of tokens (1, N) to pixels (1, H, W, 3).

    The sums of a convolution are ordered by the size of the batch and by the number of threads, and a pixel next to the
    limit between two levels then falls on the other side. So each row is decoded alone, on one thread of a CPU. Raises
    JudgeError for pixels that are no numbers.
    """
    pictures: list[Image.Image] = []
    with one_thread():
        for row in ids:
            pixels = decode(row[None])
            check_finite(pixels, f"{model_name} drew pixels")
            pictures += to_pictures(pixels)
    return pictures


def to_pictures(pixels: Tensor) -> list[Image.Image]:
    """Decoded pixels (B, H, W, 3), about -1..1 and not clipped, to pictures."""
    values = ((pixels.float() + 1) / 2 * 255).clamp(0, 255).to(torch.uint8).cpu().numpy()
    return [Image.fromarray(array) for array in values]
