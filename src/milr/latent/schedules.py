"""Which modalities move at which step (Algorithm 2): a schedule is data over one loop, not a loop of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from milr.types import Modality

TEXT: tuple[Modality, ...] = ("text",)
IMAGE: tuple[Modality, ...] = ("image",)
BOTH: tuple[Modality, ...] = ("text", "image")


@dataclass(frozen=True)
class Schedule:
    """`moves(step, steps)` for step = 1..steps; `modalities` are those that have free latents at all."""

    name: str
    moves: Callable[[int, int], tuple[Modality, ...]]
    modalities: tuple[Modality, ...] = BOTH


SCHEDULES = {
    schedule.name: schedule
    for schedule in (
        Schedule("joint", lambda step, steps: BOTH),
        Schedule("alt", lambda step, steps: TEXT if step % 2 else IMAGE),
        Schedule("t2v", lambda step, steps: TEXT if step <= steps // 2 else IMAGE),
        Schedule("text", lambda step, steps: TEXT, TEXT),
        Schedule("image", lambda step, steps: IMAGE, IMAGE),
    )
}
