"""Numbers of an official tool that are no mean of one score for each picture: its rules make them of all parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class JudgedPicture(NamedTuple):
    """A scored picture: its prompt's id, its sample, the prompt's metadata, and the parts of its score."""

    prompt: str
    sample: int
    metadata: Mapping[str, Any]
    parts: Mapping[str, float]


@dataclass(frozen=True)
class OfficialScore:
    """One number of an official tool, from 0 to 100, and how many values it is the mean of."""

    name: str
    value: float
    n: int


def means_by(values: Iterable[tuple[str, float]]) -> list[OfficialScore]:
    """The mean of the values in [0, 1] under each name, times 100, in the order in which the names come first."""
    groups: dict[str, list[float]] = {}
    for name, value in values:
        groups.setdefault(name, []).append(value)
    return [OfficialScore(name, 100 * sum(group) / len(group), len(group)) for name, group in groups.items()]
