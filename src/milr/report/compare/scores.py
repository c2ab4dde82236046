"""Scores of rows on the same prompts, seeds and samples: means, intervals, paired tests, ranks. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from milr.report.compare.records import Difference, MeanScore, ScopeScores
from milr.report.compare.rows import Row, Sample, SampleKey
from milr.report.statistics import Group, holm, mean_of, paired_test, stratified_interval
from milr.rules.wise import Edition, missing
from milr.types import UsageError

OVERALL = "overall"
ROUNDING = 1e-9  # rows whose scores differ by less share a rank
Scores = Sequence[float | None]


@dataclass(frozen=True)
class AlignedSamples:
    """The samples that are compared: `samples[row][index]` has the prompt, seed and sample number of `keys[index]`.

    `strata[index]` is its category and `groups[index]` its prompt. `pooled`: the overall score is the mean over all
    prompts (as in WISE, whose weights are the categories' shares), not over categories. It then needs every prompt:
    there is no overall score where the list of prompts is `incomplete` or a picture is unscored.
    """

    keys: tuple[SampleKey, ...]
    strata: tuple[str, ...]
    groups: tuple[Group, ...]
    samples: tuple[tuple[Sample, ...], ...]
    pooled: bool = False
    incomplete: bool = False

    @property
    def overall(self) -> AlignedSamples:
        """All samples, in the strata of the overall score."""
        return replace(self, strata=("",) * len(self.strata)) if self.pooled else self

    @property
    def categories(self) -> tuple[str, ...]:
        """Sorted; empty when the prompts have none."""
        names = sorted(set(self.strata))
        return () if names == [""] else tuple(names)

    def scopes(self) -> dict[str, AlignedSamples]:
        """All samples as `overall`, then those of each category."""
        return {OVERALL: self.overall} | {name: self._of_category(name) for name in self.categories}

    def _of_category(self, category: str) -> AlignedSamples:
        indices = [index for index, name in enumerate(self.strata) if name == category]
        return AlignedSamples(
            tuple(self.keys[index] for index in indices),
            tuple(self.strata[index] for index in indices),
            tuple(self.groups[index] for index in indices),
            tuple(tuple(samples[index] for index in indices) for samples in self.samples),
        )


def align(rows: Sequence[Row], edition: Edition | None = None) -> AlignedSamples:
    """The samples that all rows have; UsageError when there is none. `edition`: the prompts are WISE's."""
    by_key = [{sample.key: sample for sample in row.samples} for row in rows]
    keys = tuple(key for key in by_key[0] if all(key in samples for samples in by_key))
    if not keys:
        raise UsageError("these runs have no finished sample in common: finish them with the same commands.")
    strata = tuple(by_key[0][key].category for key in keys)
    groups = tuple((key.prompt_id, key.prompt) for key in keys)
    return AlignedSamples(keys, strata, groups, tuple(tuple(samples[key] for key in keys) for samples in by_key),
                          edition is not None, bool(edition and missing_prompts(keys, edition)))  # fmt: skip


def missing_prompts(keys: Sequence[SampleKey], edition: Edition) -> list[int]:
    """The prompts of WISE that are not compared, or not at every seed and sample number."""
    present: dict[tuple[int, int], dict[int, float]] = {}
    for key in keys:
        present.setdefault((key.seed, key.sample), {})[int(key.prompt_id)] = 0.0
    return sorted({number for ids in present.values() for number in missing(ids, edition)})


def mean_score(scope: AlignedSamples, values: Scores) -> MeanScore:
    """The mean of `values`, one for each sample of `scope`: the plain mean of the category means."""
    scored_indices = [index for index, value in enumerate(values) if value is not None]
    strata = [scope.strata[index] for index in scored_indices]
    groups = [scope.groups[index] for index in scored_indices]
    scored = [value for value in values if value is not None]
    lacks_prompts = scope.pooled and (scope.incomplete or len(scored) < len(values))
    has_score = set(strata) == set(scope.strata) and not lacks_prompts
    return MeanScore(
        n=len(values),
        scored=len(scored),
        score=mean_of(strata, scored) if has_score else None,
        interval=stratified_interval(strata, groups, scored) if has_score else None,
        lowest=mean_of(scope.strata, [0.0 if value is None else value for value in values]),
        highest=mean_of(scope.strata, [1.0 if value is None else value for value in values]),
    )


def score_rows(aligned: AlignedSamples, titles: Sequence[str], reference: int) -> list[dict[str, ScopeScores]]:
    """For each row its overall scores and those of each category, tested against the row at index `reference`.

    Holm corrects the overall tests of all rows together, and the tests of all rows in all categories together.
    """
    scopes = aligned.scopes()
    categories = {name: scope for name, scope in scopes.items() if name != OVERALL}
    tests = _test_scopes({OVERALL: aligned.overall}, titles, reference) | _test_scopes(categories, titles, reference)
    return [
        {name: _scope_scores(scope, row, tests.get((row, name))) for name, scope in scopes.items()}
        for row in range(len(titles))
    ]


def _scope_scores(scope: AlignedSamples, row: int, paired: Difference | None) -> ScopeScores:
    first = [sample.pictures[0].metric for sample in scope.samples[row]]
    return ScopeScores(mean_score(scope, first), mean_score(scope, _returned_scores(scope, row)), paired)


def _returned_scores(scope: AlignedSamples, row: int) -> list[float | None]:
    return [sample.pictures[sample.returned].metric for sample in scope.samples[row]]


def _test_scopes(scopes: Mapping[str, AlignedSamples], titles: Sequence[str], reference: int
                 ) -> dict[tuple[int, str], Difference]:  # fmt: skip
    """Each row against the row at `reference` in each scope, by row and scope; Holm corrects them together."""
    results, against = {}, titles[reference]
    for name, scope in scopes.items():
        before = _returned_scores(scope, reference)
        for row in range(len(titles)):
            if row != reference and (paired := _paired(scope, before, _returned_scores(scope, row), against=against)):
                results[row, name] = paired
    corrected = holm([paired.p for paired in results.values()])
    return {key: replace(results[key], holm=p) for key, p in zip(results, corrected, strict=True)}


def paired_tests(aligned: AlignedSamples, values: Sequence[Scores | None], *, titles: Sequence[str], reference: int
                 ) -> list[Difference | None]:  # fmt: skip
    """Each row's `values` (None: the row has none) against those of the row at `reference`; Holm corrects them."""
    before = values[reference]
    results = [
        None
        if row == reference or before is None or after is None
        else _paired(aligned, before, after, against=titles[reference])
        for row, after in enumerate(values)
    ]
    corrected = holm([paired.p if paired else None for paired in results])
    return [paired and replace(paired, holm=p) for paired, p in zip(results, corrected, strict=True)]


def _paired(scope: AlignedSamples, first: Scores, second: Scores, *, against: str) -> Difference | None:
    """`second` minus `first`; None where some category has no pair that both rows have scored."""
    aligned = zip(scope.strata, scope.groups, first, second, strict=True)
    pairs = [(stratum, group, before, after) for stratum, group, before, after in aligned
             if before is not None and after is not None]  # fmt: skip
    strata, groups = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if set(strata) != set(scope.strata):
        return None
    test = paired_test(strata, groups, [pair[2] for pair in pairs], [pair[3] for pair in pairs])
    return Difference(against, len(pairs), test.difference, test.interval, test.p, None, test.name)


def rank_rows(scores: Sequence[MeanScore]) -> list[int | None]:
    """Ranks, 1 for the best; None for a row without a score, or whose rank could change with unscored pictures."""
    return [_rank(score, [other for other in scores if other is not score]) for score in scores]


def _rank(score: MeanScore, others: Sequence[MeanScore]) -> int | None:
    if score.score is None or any(_is_undecided(score, other) for other in others):
        return None
    return 1 + sum(other.lowest > score.highest + ROUNDING for other in others)


def _is_undecided(first: MeanScore, second: MeanScore) -> bool:
    """Whether unscored pictures, of either row, leave it open which is ahead."""
    has_unscored = first.scored < first.n or second.scored < second.n
    return has_unscored and first.lowest <= second.highest and second.lowest <= first.highest
