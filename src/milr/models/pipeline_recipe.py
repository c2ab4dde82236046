"""What a picture of a diffusers pipeline is made from, as whole numbers: they stand where other models have tokens.

A pipeline is a function of a text, a seed and a guidance scale. So its "image tokens" are these three, which fit into
a record, and rendering them is running the pipeline: whoever has the numbers has the picture.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from milr.types import UsageError

WORDS = 6  # of 16 bits before the text: four of the seed, two of the guidance scale
_FORMAT = "<qf"


@dataclass(frozen=True)
class Recipe:
    """One picture: its `text`, the 63-bit `seed` of its noise, and the guidance scale (rounded to 32 bits)."""

    text: str
    seed: int
    guidance_scale: float

    def ids(self) -> tuple[int, ...]:
        """Seed and scale in six words of 16 bits, then the bytes of the text in UTF-8."""
        head = struct.pack(_FORMAT, self.seed, self.guidance_scale)
        return (*struct.unpack(f"<{WORDS}H", head), *self.text.encode())

    @staticmethod
    def of(ids: Sequence[int]) -> Recipe:
        """The recipe that these numbers are; UsageError where they are none."""
        try:
            seed, scale = struct.unpack(_FORMAT, struct.pack(f"<{WORDS}H", *ids[:WORDS]))
            return Recipe(bytes(ids[WORDS:]).decode(), seed, scale)
        except (struct.error, ValueError):
            raise UsageError("these numbers are not a picture of a diffusers pipeline: they were drawn by another "
                             "model.") from None  # fmt: skip
