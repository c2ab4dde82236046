"""The reward `detector`: the classical detector of the embedded world, under GenEval's rules."""

from __future__ import annotations

from milr.rewards.vision.shapes import ShapesReward
from milr.shapes.judge import judge


class DetectorReward(ShapesReward):
    """Template matching without any weights (`shapes.detector`). For the benchmark shapes it is an oracle."""

    name = "detector"

    def __init__(self) -> None:
        super().__init__(judge)
