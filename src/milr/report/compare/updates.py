"""Counts of what the updates of a row did: free tokens, changed texts, and recognised failures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from milr.report.changes import moved_latents
from milr.report.failures import failure_marks, looks_hacked
from milr.runs.store import Record, StepRecord


@dataclass(frozen=True)
class UpdateCounts:
    """Sums over the steps at which latents moved; `searches` and `hacked` count samples.

    `text_free` and `image_free` are the sums of the free tokens of these steps.
    """

    searches: int = 0
    hacked: int = 0
    text_steps: int = 0
    text_free: int = 0
    text_changed: int = 0
    text_collapsed: int = 0
    image_steps: int = 0
    image_free: int = 0
    image_collapsed: int = 0


def count_updates(record: Record) -> UpdateCounts:
    """The counts of one sample."""
    steps = add_counts(_count_step(step) for step in record.steps)
    return dataclasses.replace(steps, searches=1, hacked=int(looks_hacked(record)))


def add_counts(counts: Iterable[UpdateCounts]) -> UpdateCounts:
    """The sums of several counts."""
    return UpdateCounts(*(sum(values) for values in zip(*(vars(each).values() for each in counts), strict=True)))


def _count_step(step: StepRecord) -> UpdateCounts:
    moved, marks = moved_latents(step), failure_marks(step)
    text, image = "text" in moved, "image" in moved
    return UpdateCounts(
        text_steps=int(text),
        text_free=step.info["text"].free_tokens if text and "text" in step.info else 0,
        text_changed=int(text and step.text_changed),
        text_collapsed=int(text and "text collapse" in marks),
        image_steps=int(image),
        image_free=step.info["image"].free_tokens if image and "image" in step.info else 0,
        image_collapsed=int(image and "image collapse" in marks),
    )
