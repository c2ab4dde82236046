"""What a comparison found, as frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from milr.report.compare.moved import Moved
from milr.report.statistics import Interval


@dataclass(frozen=True)
class Measured:
    """Scores in [0, 1] of `n` pictures. `lowest` and `highest` are the score with the unscored as 0 and as 1.

    `score` None: nothing was scored, or nothing in one of the categories.
    """

    n: int
    scored: int
    score: float | None
    interval: Interval | None
    lowest: float
    highest: float


@dataclass(frozen=True)
class Paired:
    """A row minus the row `against`, over the `pairs` that both have scored; `holm` is p corrected for all rows."""

    against: str
    pairs: int
    difference: float
    interval: Interval | None
    p: float
    holm: float | None
    test: str


@dataclass(frozen=True)
class Part:
    """A row's first and returned pictures, overall or in a category. `paired` None: nothing to test against."""

    first: Measured
    returned: Measured
    paired: Paired | None


@dataclass(frozen=True)
class Spent:
    """Means per search, which is one prompt, seed and sample."""

    pictures: float
    token_steps: float
    reward_calls: float
    model_seconds: float
    reward_seconds: float

    @property
    def seconds(self) -> float:
        """Model and reward together."""
        return self.model_seconds + self.reward_seconds


@dataclass(frozen=True)
class Point:
    """What the searches would have returned had each been stopped after `allowed` pictures, and what they had spent.

    `paired` is the test against the chosen row at the same number of pictures (None: there is none).
    """

    allowed: int
    returned: Measured
    spent: Spent
    paired: Paired | None


@dataclass(frozen=True)
class RowNumbers:
    """One row. `title` is its name with the oracle label; `budget` the pictures it was allowed.

    `in_flight` lists how many searches ran at once (empty: not known), `peak_memory` is in bytes (0: not known).
    `rank` None: not ranked, because unscored pictures could change its place.
    """

    name: str
    title: str
    oracle: bool
    method: str
    model: str
    reward: str
    seeds: tuple[int, ...]
    budget: int
    in_flight: tuple[int, ...]
    peak_memory: int
    rank: int | None
    overall: Part
    categories: Mapping[str, Part]
    spent: Spent
    moved: Moved
    curve: tuple[Point, ...]


@dataclass(frozen=True)
class Shot:
    """The picture that one row returned, with its score by the report metric."""

    title: str
    score: float | None
    picture: Path


@dataclass(frozen=True)
class Example:
    """A prompt on which the rows differ, with one picture for each row."""

    prompt: str
    category: str
    seed: int
    sample: int
    shots: tuple[Shot, ...]


@dataclass(frozen=True)
class Comparison:
    """Everything that the tables, figures and pages show. `searches` is prompts x seeds x samples, for each row."""

    benchmark: str
    metric: str
    prompts: int
    samples: int
    searches: int
    seeds: tuple[int, ...]
    categories: tuple[str, ...]
    against: str
    rows: tuple[RowNumbers, ...]
    notes: tuple[str, ...]
    examples: tuple[Example, ...]
