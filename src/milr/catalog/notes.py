"""What one has to know about a benchmark and its judges to compare their scores with published ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from milr.base import Benchmark


def notes_of(benchmark: Benchmark | None, metric: Any, reward: Any) -> tuple[str, ...]:
    """Sentences about how the score comes about, then about the search reward where that is another judge."""
    notes = [*getattr(benchmark, "deviations", ()), *_about(metric)]
    if benchmark is not None and not getattr(benchmark, "official", True):
        notes.append(f"These are not known to be the official prompts of {benchmark.name}.")
    if reward is not metric:
        notes += [f"The search reward {reward.name}: {note}" for note in _about(reward)]
    return tuple(dict.fromkeys(notes))


def _about(judge: Any) -> Iterator[str]:
    """How a judge departs from the official one, in whose words it was asked, and likewise of those it is made of."""
    yield from getattr(judge, "deviations", ())
    if wording := getattr(judge, "wording", None):
        yield f"Wording of {judge.name}: {wording.label}."
    inner = [getattr(judge, "unified", None), *getattr(judge, "judges", {}).values()]
    for one in filter(None, inner):
        yield from _about(one)
