"""What the updates of a row's searches did: free tokens, changed texts, and the failures that the marks show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import add

from milr.report.failures import looks_hacked, marks
from milr.runs.store import Record, StepRecord


@dataclass(frozen=True)
class Moved:
    """Sums over update steps (and, of `hacked`, over searches); `*_free` sum the free tokens of the steps."""

    searches: int = 0
    hacked: int = 0
    text_steps: int = 0
    text_free: int = 0
    text_changed: int = 0
    text_collapsed: int = 0
    image_steps: int = 0
    image_free: int = 0
    image_collapsed: int = 0

    def __add__(self, other: Moved) -> Moved:
        return Moved(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def moved(record: Record) -> Moved:
    """The sums of one search."""
    steps = reduce(add, map(_of_step, record.steps), Moved())
    return steps + Moved(searches=1, hacked=int(looks_hacked(record)))


def moved_in(records: Iterable[Record]) -> Moved:
    """The sums of many."""
    return reduce(add, map(moved, records), Moved())


def _of_step(step: StepRecord) -> Moved:
    found, info = marks(step), step.info
    text, image = info.get("text"), info.get("image")
    return Moved(
        text_steps=int(text is not None), text_free=text.free_tokens if text else 0,
        text_changed=int(text is not None and step.text_changed),
        text_collapsed=int(text is not None and "text collapse" in found),
        image_steps=int(image is not None), image_free=image.free_tokens if image else 0,
        image_collapsed=int(image is not None and "image collapse" in found),
    )  # fmt: skip
