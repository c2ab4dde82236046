"""Scores of rows on the same prompts, seeds and samples: means, intervals, paired tests, ranks. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from milr.report.compare.records import Measured, Paired, Part
from milr.report.compare.rows import Row, Sample, SampleKey
from milr.report.statistics import Group, holm, mean_of, paired_test, stratified_interval
from milr.rules.wise import Edition, missing
from milr.types import UsageError

OVERALL = "overall"
ROUNDING = 1e-9  # two rows with the same scores share a rank
Scores = Sequence[float | None]


@dataclass(frozen=True)
class Aligned:
    """What is compared: `samples[row][place]` is of the prompt, seed and sample `keys[place]`.

    `strata` are the categories and `groups` the prompts of the places. `pooled`: the overall score is the mean over
    all prompts (WISE's, whose weights are the categories' shares), not over categories; it then needs all of them, and
    there is none where the benchmark's list is `incomplete` or a picture unscored.
    """

    keys: tuple[SampleKey, ...]
    strata: tuple[str, ...]
    groups: tuple[Group, ...]
    samples: tuple[tuple[Sample, ...], ...]
    pooled: bool = False
    incomplete: bool = False

    @property
    def whole(self) -> Aligned:
        """All places, in the strata of the overall score."""
        return replace(self, strata=("",) * len(self.strata)) if self.pooled else self

    @property
    def categories(self) -> tuple[str, ...]:
        """Sorted; empty when the prompts have none."""
        names = sorted(set(self.strata))
        return () if names == [""] else tuple(names)

    def scopes(self) -> dict[str, Aligned]:
        """All places as `overall`, then those of each category."""
        return {OVERALL: self.whole} | {name: self._within(name) for name in self.categories}

    def _within(self, category: str) -> Aligned:
        places = [place for place, name in enumerate(self.strata) if name == category]
        return Aligned(
            tuple(self.keys[place] for place in places),
            tuple(self.strata[place] for place in places),
            tuple(self.groups[place] for place in places),
            tuple(tuple(samples[place] for place in places) for samples in self.samples),
        )


def align(rows: Sequence[Row], edition: Edition | None = None) -> Aligned:
    """The samples that all rows have; UsageError when there is none."""
    found = [{sample.key: sample for sample in row.samples} for row in rows]
    keys = tuple(key for key in found[0] if all(key in samples for samples in found))
    if not keys:
        raise UsageError("these runs have no finished sample in common: finish them with the same commands.")
    strata = tuple(found[0][key].category for key in keys)
    groups = tuple((key.prompt_id, key.prompt) for key in keys)
    return Aligned(keys, strata, groups, tuple(tuple(samples[key] for key in keys) for samples in found),
                   edition is not None, bool(edition and absent(keys, edition)))  # fmt: skip


def absent(keys: Sequence[SampleKey], edition: Edition) -> list[int]:
    """The prompts of WISE that are not compared, or not at every seed and sample."""
    there: dict[tuple[int, int], dict[int, float]] = {}
    for key in keys:
        there.setdefault((key.seed, key.sample), {})[int(key.prompt_id)] = 0.0
    return sorted({number for ids in there.values() for number in missing(ids, edition)})


def measure(scope: Aligned, values: Scores) -> Measured:
    """The scores `values`, one for each place of `scope`. The mean is the plain mean of the category means."""
    kept = [place for place, value in enumerate(values) if value is not None]
    strata, groups = [scope.strata[place] for place in kept], [scope.groups[place] for place in kept]
    scored = [value for value in values if value is not None]
    whole = set(strata) == set(scope.strata) and not (scope.pooled and (scope.incomplete or len(kept) < len(values)))
    return Measured(
        n=len(values),
        scored=len(scored),
        score=mean_of(strata, scored) if whole else None,
        interval=stratified_interval(strata, groups, scored) if whole else None,
        lowest=mean_of(scope.strata, [0.0 if value is None else value for value in values]),
        highest=mean_of(scope.strata, [1.0 if value is None else value for value in values]),
    )


def parts_of(aligned: Aligned, titles: Sequence[str], base: int) -> list[dict[str, Part]]:
    """For each row its overall part and that of each category, tested against the row at `base`.

    Holm corrects the overall tests of all rows together, and the tests of all rows in all categories together.
    """
    scopes = aligned.scopes()
    inner = {name: scope for name, scope in scopes.items() if name != OVERALL}
    tests = _tests({OVERALL: aligned.whole}, titles, base) | _tests(inner, titles, base)
    return [
        {name: _part(scope, place, tests.get((place, name))) for name, scope in scopes.items()}
        for place in range(len(titles))
    ]


def _part(scope: Aligned, place: int, paired: Paired | None) -> Part:
    first = [sample.pictures[0].metric for sample in scope.samples[place]]
    return Part(measure(scope, first), measure(scope, _returned(scope, place)), paired)


def _returned(scope: Aligned, place: int) -> list[float | None]:
    return [sample.pictures[sample.returned].metric for sample in scope.samples[place]]


def _tests(scopes: Mapping[str, Aligned], titles: Sequence[str], base: int) -> dict[tuple[int, str], Paired]:
    """Each row against the row at `base` in each scope, Holm-corrected together."""
    found = {
        (place, name): paired
        for name, scope in scopes.items()
        for place in range(len(titles))
        if place != base and (paired := _paired(scope, _returned(scope, base), _returned(scope, place), titles[base]))
    }
    corrected = holm([paired.p for paired in found.values()])
    return {where: replace(found[where], holm=p) for where, p in zip(found, corrected, strict=True)}


def tests_at(aligned: Aligned, values: Sequence[Scores | None], titles: Sequence[str], base: int
             ) -> list[Paired | None]:  # fmt: skip
    """Each row's `values` (None: the row has none) against those of the row at `base`, Holm-corrected together."""
    before = values[base]
    found = [None if place == base or before is None or after is None
             else _paired(aligned, before, after, titles[base]) for place, after in enumerate(values)]  # fmt: skip
    corrected = holm([paired.p if paired else None for paired in found])
    return [paired and replace(paired, holm=p) for paired, p in zip(found, corrected, strict=True)]


def _paired(scope: Aligned, first: Scores, second: Scores, against: str) -> Paired | None:
    """None where some category has no pair that both rows have scored."""
    aligned = zip(scope.strata, scope.groups, first, second, strict=True)
    pairs = [(stratum, group, before, after) for stratum, group, before, after in aligned
             if before is not None and after is not None]  # fmt: skip
    strata, groups = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if set(strata) != set(scope.strata):
        return None
    test = paired_test(strata, groups, [pair[2] for pair in pairs], [pair[3] for pair in pairs])
    return Paired(against, len(pairs), test.difference, test.interval, test.p, None, test.name)


def ranks_of(measured: Sequence[Measured]) -> list[int | None]:
    """1 for the best; None for a row without a score, or whose place unscored pictures, its or the others', could
    change."""
    return [None if one.score is None or any(_undecided(one, other) for other in measured if other is not one)
            else 1 + sum(other.lowest > one.highest + ROUNDING for other in measured) for one in measured]  # fmt: skip


def _undecided(one: Measured, other: Measured) -> bool:
    unscored = one.scored < one.n or other.scored < other.n
    return unscored and one.lowest <= other.highest and other.lowest <= one.highest
