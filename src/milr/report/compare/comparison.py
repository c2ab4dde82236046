"""The numbers of a comparison: for each row its score with interval, paired test, cost and curve. Pure functions.

The overall score is the plain mean of the category means, as GenEval's, or of all prompts, as WISE's. A missing
judgement is not a zero: scores are over the scored pictures, with the bounds beside them; a category without any
judgement leaves no overall score.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path

from milr.report.compare.comparable import check_comparable
from milr.report.compare.notes import notes_of
from milr.report.compare.official import metric_name, official_scores
from milr.report.compare.pictures import compared_samples
from milr.report.compare.records import (
    Comparison,
    CurvePoint,
    Example,
    ExamplePicture,
    MeanCost,
    RowResult,
    ScopeScores,
)
from milr.report.compare.rows import OnProgress, Row, Sample, ScoredPicture, load_rows, picture_budget
from milr.report.compare.scores import (
    OVERALL,
    AlignedSamples,
    align,
    mean_score,
    paired_tests,
    rank_rows,
    score_rows,
)
from milr.report.compare.updates import add_counts
from milr.rules.wise import EDITIONS
from milr.runs.files import no_garbage
from milr.types import Cost, UsageError

BUDGETS = (1, 2, 4, 8, 16, 21)
MAX_EXAMPLES = 6


@no_garbage()
def compare_runs(folders: Iterable[Path | str], *, against: str = "", partial: bool = False,
                 budgets: Sequence[int] = BUDGETS, on_progress: OnProgress | None = None) -> Comparison:  # fmt: skip
    """`load_rows` and `compare` in one; raises the same errors."""
    return compare(load_rows(folders, on_progress=on_progress), against=against, partial=partial, budgets=budgets)


def compare(rows: Sequence[Row], *, against: str = "", partial: bool = False,
            budgets: Sequence[int] = BUDGETS) -> Comparison:  # fmt: skip
    """Compare rows at their full budgets, and test each against the row named `against` (default: the first).

    `budgets` are the numbers of pictures at which the curves are computed. UsageError, with the reason, where the rows
    are not comparable. `partial`: only the prompts, seeds and samples that all of them have finished.
    """
    check_comparable(rows, partial=partial)
    reference = _index_of(rows, against)
    aligned = align(rows, EDITIONS.get(rows[0].config.benchmark))
    titles = [row.title for row in rows]
    scores = score_rows(aligned, titles, reference)
    ranks = rank_rows([scopes[OVERALL].returned for scopes in scores])
    curves = _curves(rows, aligned.overall, titles=titles, reference=reference, budgets=budgets)
    config = rows[0].config
    return Comparison(
        benchmark=config.benchmark,
        metric=metric_name(config),
        prompts=len(set(aligned.groups)),
        samples=config.samples,
        searches=len(aligned.keys),
        seeds=tuple(sorted({key.seed for key in aligned.keys})),
        categories=aligned.categories,
        against=titles[reference],
        rows=tuple(
            _row_result(row, aligned.samples[index], scores=scores[index], rank=ranks[index], curve=curves[index])
            for index, row in enumerate(rows)
        ),
        notes=tuple(notes_of(rows, aligned.keys)),
        examples=_examples(aligned, titles),
        searched=any(row.config.command != "score" for row in rows),
        pictures=compared_samples(rows, aligned) if len(rows) > 1 else (),
    )


def _index_of(rows: Sequence[Row], name: str) -> int:
    """The index of the row with this name, title or label; 0 without a name."""
    for names in ([row.name for row in rows], [row.title for row in rows], [row.config.label for row in rows]):
        if name in names:
            return names.index(name)
    if name:
        raise UsageError(f"no row is called {name!r}; there are: {'; '.join(row.name for row in rows)}.")
    return 0


def _row_result(row: Row, samples: Sequence[Sample], *, scores: Mapping[str, ScopeScores], rank: int | None,
                curve: tuple[CurvePoint, ...]) -> RowResult:  # fmt: skip
    return RowResult(
        name=row.name,
        title=row.title,
        oracle=row.oracle,
        method=row.config.method,
        model=row.config.model,
        reward=row.config.reward,
        seeds=row.seeds,
        budget=picture_budget(row),
        in_flight=row.in_flight,
        peak_memory=row.peak_memory,
        rank=rank,
        overall=scores[OVERALL],
        categories={name: scope for name, scope in scores.items() if name != OVERALL},
        spent=_mean_cost([sample.cost for sample in samples]),
        moved=add_counts(sample.updates for sample in samples),
        curve=curve,
        official=official_scores(row.config, (sample.judged for sample in samples)),
    )


def _mean_cost(costs: Sequence[Cost]) -> MeanCost:
    total = reduce(add, costs)
    n = len(costs)
    return MeanCost(total.pictures / n, total.token_steps / n, total.reward_calls / n, total.model_seconds / n,
                    total.reward_seconds / n)  # fmt: skip


# Curves


def _curves(rows: Sequence[Row], aligned: AlignedSamples, *, titles: Sequence[str], reference: int,
            budgets: Sequence[int]) -> list[tuple[CurvePoint, ...]]:  # fmt: skip
    """The curve of each row; only the row at `reference` is evaluated beyond its own budget, for the tests."""
    curves: list[list[CurvePoint]] = [[] for _ in rows]
    limits = [picture_budget(row) for row in rows]
    for allowed in sorted({n for n in budgets if n < max(limits)} | set(limits)):
        results = [_results_after(row, samples, allowed) for row, samples in zip(rows, aligned.samples, strict=True)]
        values = [_metric_scores(result) if allowed <= limit or index == reference else None
                  for index, (result, limit) in enumerate(zip(results, limits, strict=True))]  # fmt: skip
        tests = paired_tests(aligned, values, titles=titles, reference=reference)
        for curve, result, limit, paired in zip(curves, results, limits, tests, strict=True):
            if allowed <= limit and (allowed in budgets or allowed == limit):
                cost = _mean_cost([cost for _, cost in result])
                curve.append(CurvePoint(allowed, mean_score(aligned, _metric_scores(result)), cost, paired))
    return [tuple(curve) for curve in curves]


StoppedSample = tuple[ScoredPicture, Cost]


def _results_after(row: Row, samples: Sequence[Sample], allowed: int) -> list[StoppedSample]:
    keeps_best = row.config.settings.get("returns", "best") == "best"
    return [stopped_after(sample, allowed, keeps_best=keeps_best) for sample in samples]


def _metric_scores(results: Sequence[StoppedSample]) -> list[float | None]:
    return [picture.metric for picture, _ in results]


def stopped_after(sample: Sample, allowed: int, *, keeps_best: bool = True) -> StoppedSample:
    """The picture that a sample would have returned, and its cost, with a budget of `allowed` >= 1 pictures.

    That is the picture that the reward chose of those so far, which is the first one with the highest search score
    where it does not compare them, or the last one (without `keeps_best`, or where nothing was scored). A sample that
    stopped earlier keeps its result.
    """
    cost = Cost()
    drawn: list[ScoredPicture] = []
    for picture in sample.pictures:
        drawn.append(picture)
        cost += picture.cost
        if cost.pictures >= allowed:
            break
    scored = [picture for picture in drawn if picture.search is not None]
    best = max(scored, key=lambda picture: picture.search or 0.0, default=drawn[-1])  # the first of equals
    if (chosen := drawn[-1].chosen) is not None:
        best = drawn[chosen]
    return best if keeps_best else drawn[-1], cost


# Examples


@dataclass(frozen=True)
class _Contrast:
    """How far the rows' scores of the sample at `index` lie apart."""

    spread: float
    index: int


def _examples(aligned: AlignedSamples, titles: Sequence[str]) -> tuple[Example, ...]:
    """The prompts on which the rows differ most: first the widest of each category, then the second widest, ..."""
    seen: dict[str, int] = {}
    ranked = []
    for contrast in sorted(_contrasts(aligned), key=lambda contrast: (-contrast.spread, contrast.index)):
        category = aligned.strata[contrast.index]
        seen[category] = seen.get(category, 0) + 1
        ranked.append((seen[category], -contrast.spread, contrast.index))
    return tuple(_example(aligned, titles, index) for _, _, index in sorted(ranked)[:MAX_EXAMPLES])


def _contrasts(aligned: AlignedSamples) -> list[_Contrast]:
    """For each prompt on which the rows differ, the seed and sample on which they differ most."""
    widest: dict[object, _Contrast] = {}
    for index, group in enumerate(aligned.groups):
        returned = [samples[index].pictures[samples[index].returned].metric for samples in aligned.samples]
        scores = [score for score in returned if score is not None]
        spread = max(scores) - min(scores) if scores else 0.0
        if spread > (widest[group].spread if group in widest else 0.0):
            widest[group] = _Contrast(spread, index)
    return list(widest.values())


def _example(aligned: AlignedSamples, titles: Sequence[str], index: int) -> Example:
    key = aligned.keys[index]
    pictures = []
    for title, samples in zip(titles, aligned.samples, strict=True):
        sample = samples[index]
        picture = sample.pictures[sample.returned]
        pictures.append(ExamplePicture(title, picture.metric, picture.path, sample.change))
    return Example(key.prompt, aligned.strata[index], key.seed, key.sample, tuple(pictures))
