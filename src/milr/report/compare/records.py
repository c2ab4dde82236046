"""The results of a comparison, as frozen records. compare.json has their field names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from milr.report.compare.updates import UpdateCounts
from milr.report.statistics import Interval
from milr.rules.official_scores import OfficialScore


@dataclass(frozen=True)
class MeanScore:
    """The score in [0, 1] of `n` pictures. `lowest` and `highest` are the score with the unscored as 0 and as 1.

    `score` None: nothing was scored, or nothing in one of the categories.
    """

    n: int
    scored: int
    score: float | None
    interval: Interval | None
    lowest: float
    highest: float


@dataclass(frozen=True)
class Difference:
    """A row minus the row `against`, over the `pairs` of pictures that both rows have scored.

    `p` is two-sided; `holm` is `p` corrected for the number of rows.
    """

    against: str
    pairs: int
    difference: float
    interval: Interval | None
    p: float
    holm: float | None
    test: str


@dataclass(frozen=True)
class ScopeScores:
    """The scores of a row's first and returned pictures, overall or in one category.

    `paired` None: there is nothing to test against.
    """

    first: MeanScore
    returned: MeanScore
    paired: Difference | None


@dataclass(frozen=True)
class MeanCost:
    """What a sample (one prompt, seed and sample number) cost, in the mean."""

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
class CurvePoint:
    """What the samples would have returned, and cost, had each been stopped after `allowed` pictures.

    `paired` is the test against the reference row at the same number of pictures (None: there is none).
    """

    allowed: int
    returned: MeanScore
    spent: MeanCost
    paired: Difference | None


@dataclass(frozen=True)
class RowResult:
    """One row. `title` is its name with the oracle label, `budget` the number of pictures it was allowed.

    `in_flight` lists how many samples were in progress at once (empty: not known), `peak_memory` is in bytes (0: not
    known). `rank` None: not ranked, because unscored pictures could change the rank. `official` are the numbers that
    the benchmark's own tool makes of the returned pictures' parts (empty: none but the scores).
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
    overall: ScopeScores
    categories: Mapping[str, ScopeScores]
    spent: MeanCost
    moved: UpdateCounts
    curve: tuple[CurvePoint, ...]
    official: tuple[OfficialScore, ...] = ()


@dataclass(frozen=True)
class ExamplePicture:
    """The picture that one row returned, its score by the report metric, and what the updates changed."""

    title: str
    score: float | None
    picture: Path
    change: str = ""


@dataclass(frozen=True)
class Example:
    """A prompt on which the rows differ, with one picture for each row."""

    prompt: str
    category: str
    seed: int
    sample: int
    shots: tuple[ExamplePicture, ...]


class ShownPicture(NamedTuple):
    """The picture that one row returned for a sample: its score, its file in its run, what updates changed.

    `file` is empty where the picture is missing or damaged.
    """

    score: float | None
    run: Path
    file: str
    change: str


class ComparedSample(NamedTuple):
    """One sample with a picture for each row. `spread` is how far their scores lie apart; 0: they do not differ."""

    prompt: str
    category: str
    seed: int
    sample: int
    position: int
    spread: float
    pictures: tuple[ShownPicture, ...]


@dataclass(frozen=True)
class Comparison:
    """Everything that tables, figures and pages show. `searches` is prompts x seeds x samples, for each row.

    `searched` is false where every row is a folder of pictures that `milr score` judged. `pictures` has every sample,
    those first on which the rows differ most (empty for a single row); compare.json leaves it out.
    """

    benchmark: str
    metric: str
    prompts: int
    samples: int
    searches: int
    seeds: tuple[int, ...]
    categories: tuple[str, ...]
    against: str
    rows: tuple[RowResult, ...]
    notes: tuple[str, ...]
    examples: tuple[Example, ...]
    searched: bool = True
    pictures: tuple[ComparedSample, ...] = ()
