"""Whether two records are of the same search with the same result: tokens, scores and pictures, and no seconds."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import Any

from milr.runs.records import Record, StepRecord


def first_difference(first: Record, second: Record) -> str:
    """A phrase for the first thing in which the results differ; "" where they are the same."""
    return next(_differences(first, second), "")


def _differences(first: Record, second: Record) -> Iterator[str]:
    yield from _fields("", first, second, "prompt", "seed", "sample")
    for number, (one, other) in enumerate(zip(first.steps, second.steps, strict=False)):
        yield from _step_differences(f"step {number}: ", one, other)
    if len(first.steps) != len(second.steps):
        yield f"{len(first.steps)} pictures and {len(second.steps)}"
    yield from _fields("", first, second, "best", "returned", "stop")


def _step_differences(where: str, first: StepRecord, second: StepRecord) -> Iterator[str]:
    for kind in ("text", "image"):
        one, other = getattr(first, f"{kind}_ids"), getattr(second, f"{kind}_ids")
        near_ties = {*getattr(first, f"{kind}_near_ties"), *getattr(second, f"{kind}_near_ties")}
        yield from _token_difference(f"{where}{kind} token", one, other, near_ties)
    yield from _fields(where, first, second, "index", "visualisation", "moved", "score", "parts", "chosen")
    if first.picture_sha256 != second.picture_sha256 and first.picture_sha256 and second.picture_sha256:
        yield f"{where}the bytes of the picture"
    judged = [None if step.judged is None else step.judged.score for step in (first, second)]
    if judged[0] != judged[1]:
        yield f"{where}judged {judged[0]} and {judged[1]}"


def _token_difference(where: str, first: Sequence[int], second: Sequence[int], near_ties: Container[int]
                      ) -> Iterator[str]:  # fmt: skip
    for position, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            tie = ", a near tie that rounding decides" if position in near_ties else ""
            yield f"{where} {position} is {one} and {other}{tie}"
    if len(first) != len(second):
        yield f"{where}s are {len(first)} and {len(second)}"


def _fields(where: str, first: Any, second: Any, *names: str) -> Iterator[str]:
    for name in names:
        values = getattr(first, name), getattr(second, name)
        if values[0] != values[1]:
            yield f"{where}{name} {_short(values[0])} and {_short(values[1])}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
