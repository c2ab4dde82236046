"""The reward `held-out`: a small network that looks at the embedded world, under GenEval's rules."""

from __future__ import annotations

from milr.rewards.vision.shapes import ShapesReward
from milr.shapes.held_out import judge


class HeldOutReward(ShapesReward):
    """The network of `shapes.held_out`, trained on renderings that nano never saw and independent of the detector."""

    name = "held-out"

    def __init__(self) -> None:
        super().__init__(judge)
