"""What a reader must know about a benchmark and its judges to compare their scores with published ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from milr.base import Benchmark


def notes_of(benchmark: Benchmark | None, metric: Any, reward: Any) -> tuple[str, ...]:
    """Sentences about the benchmark and its metric, then about the search reward where that is another judge."""
    notes = [*getattr(benchmark, "deviations", ()), *_about(metric)]
    if benchmark is not None and not getattr(benchmark, "official", True):
        notes.append(f"These are not known to be the official prompts of {benchmark.name}.")
    if reward is not metric:
        notes += [f"The search reward {reward.name}: {note}" for note in _about(reward)]
    return tuple(dict.fromkeys(notes))


def _about(judge: Any) -> Iterator[str]:
    """How a judge deviates from the official one and which wording it uses; then the same of the judges inside it."""
    yield from getattr(judge, "deviations", ())
    if wording := getattr(judge, "wording", None):
        yield f"Wording of {judge.name}: {wording.label}."
    inner_judges = [getattr(judge, "unified", None), *getattr(judge, "judges", {}).values()]
    for inner in filter(None, inner_judges):
        yield from _about(inner)
