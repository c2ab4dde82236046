"""The cards of a run's page: what each sample is marked, filtered and sorted by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from milr.report.changes import cause_of
from milr.report.failures import failure_marks, looks_hacked
from milr.runs.store import Record

# Kinds of marks in the order of their buttons, with the words on them.
LABELS = {
    "solved": "✓ solved",
    "failed": "✗ failed",
    "unscored": "⚠ unscored",
    "text-collapse": "⚠ text collapse",
    "image-collapse": "⚠ image collapse",
    "possible-reward-hacking": "⚠ possible reward hacking",
    "kept": "first picture kept",
    "update": "changed by the update",
    "luck": "drawn again by luck",
    "noted": "made as its note says",
}


@dataclass(frozen=True)
class CardMark:
    """A mark on a card: `kind` is a key of LABELS, `is_warning` says that it names a failure of the search."""

    kind: str
    text: str
    is_warning: bool = False


@dataclass(frozen=True)
class Filter:
    """A button that shows the `count` cards with a mark (`key` is its kind) or of a category (`key` is its number)."""

    key: str
    text: str
    count: int


def solved_at(record: Record, threshold: float | None) -> int | None:
    """The first step above the threshold, where the returned picture is above it; None where it is not, or unknown."""
    if not _is_above(record.result.score, threshold):
        return None
    return next(step.index for step in record.steps if _is_above(step.score, threshold))


def found_at(record: Record, threshold: float | None) -> int | None:
    """What cards are sorted by: `solved_at`, or without a threshold the step that was returned."""
    return record.result.index if threshold is None else solved_at(record, threshold)


def card_marks(record: Record, threshold: float | None, change: str) -> tuple[CardMark, ...]:
    """The marks of a sample; `change` is the description of its result (`changes.describe_result`)."""
    warnings = tuple(CardMark(text.replace(" ", "-"), f"⚠ {text}", True) for text in sample_marks(record))
    cause = cause_of(record.result, change)
    return (*_verdict(record, threshold), *warnings, CardMark(cause, LABELS[cause]))


def sample_marks(record: Record) -> tuple[str, ...]:
    """The failures of all steps, each once, and reward hacking."""
    marks = dict.fromkeys(mark for step in record.steps for mark in failure_marks(step))
    return (*marks, "possible reward hacking") if looks_hacked(record) else tuple(marks)


def mark_filters(cards: Iterable[Sequence[CardMark]]) -> list[Filter]:
    """A button for each kind of mark that is there; none where all cards have the same."""
    cards = list(cards)
    counts = Counter(mark.kind for marks in cards for mark in marks)
    filters = [Filter(kind, text, counts[kind]) for kind, text in LABELS.items() if counts[kind]]
    return filters if any(each.count < len(cards) for each in filters) else []


def category_numbers(categories: Iterable[str]) -> dict[str, int]:
    """A number for each category, by which cards name theirs; in the order of the alphabet."""
    return {name: number for number, name in enumerate(sorted(set(categories)))}


def category_filters(categories: Iterable[str], numbers: Mapping[str, int]) -> list[Filter]:
    """A button for each category of the cards, which have one each; none where there is only one."""
    counts = Counter(categories)
    filters = [Filter(str(number), name or "other", counts[name]) for name, number in numbers.items()]
    return filters if len(filters) > 1 else []


def _verdict(record: Record, threshold: float | None) -> tuple[CardMark, ...]:
    """Solved or failed; () where that is not known."""
    step = solved_at(record, threshold)
    if step is not None:
        return (CardMark("solved", f"✓ solved at step {step}"),)
    known = threshold is not None and record.result.score is not None
    return (CardMark("failed", LABELS["failed"]),) if known else ()


def _is_above(score: float | None, threshold: float | None) -> bool:
    return score is not None and threshold is not None and score > threshold
