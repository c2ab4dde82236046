"""The list of stages: number, name, seconds that each may take, and what it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

TOTAL_SECONDS = 470.0  # for all; a stage that would begin later says so and fails
CPU_TIMES = 4  # as many seconds without a GPU, where other work may run beside


@dataclass(frozen=True)
class Stage:
    """`function` names a generator of findings as "module:name"; it gets the card, and `argument` where it has one."""

    number: int
    name: str
    seconds: float
    function: str
    argument: Any = None


def stages(sizes: list[str]) -> list[Stage]:
    """All stages; speed is measured for each of `sizes`."""
    beside = ("multiplies", "copies", "synchronises", "empties the cache", "samples")
    return [
        Stage(0, "machine", 30, "machine:machine"),
        Stage(13, "messages", 20, "machine:messages"),
        Stage(2, "layers", 30, "numbers:layers"),
        Stage(3, "graphs", 45, "graphs:graphs"),
        Stage(8, "company", 60, "numbers:company"),
        *(Stage(9, f"speed {size}", 75, "speed:speed", size) for size in sizes),
        Stage(6, "waits", 25, "graphs:waits"),
        Stage(10, "out of memory", 30, "memory:out_of_memory"),
        Stage(10, "memory", 40, "memory:memory"),
        *(Stage(10, f"{size} GB card", 30, "memory:capped", size) for size in (8, 24)),
        Stage(4, "captures", 30, "graphs:captures"),
        Stage(4, "broken capture", 20, "graphs:broken_capture"),
        *(Stage(5, f"a thread that {what}", 20, "graphs:beside", what) for what in beside),
        Stage(7, "noise", 30, "speed:noise"),
        Stage(11, "answers", 30, "numbers:answers"),
        Stage(1, "attention", 40, "attention:attention"),
        Stage(12, "quantised", 60, "quantised:quantised"),
    ]


def load(function: str) -> Callable[..., Iterator[Any]]:
    """The generator that a stage names."""
    from importlib import import_module

    module, _, name = function.partition(":")
    found: Callable[..., Iterator[Any]] = getattr(import_module(f"gpu_stages.{module}"), name)
    return found
