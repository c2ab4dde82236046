"""The numbers of a comparison: for each row its score with interval, paired test, cost and curve. Pure.

The overall score is the plain mean of the category means, as GenEval's, or of all prompts, as WISE's. A missing
judgement is not a zero: scores are over the scored pictures, with the bounds beside them; a category without one
judgement leaves no overall score.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path

from milr.report.compare.notes import notes_of
from milr.report.compare.records import Comparison, Example, Part, Point, RowNumbers, Shot, Spent
from milr.report.compare.rows import OnRun, Picture, Row, Sample, budget_of, metric_of, refuse, rows_of
from milr.report.compare.scores import OVERALL, Aligned, align, measure, parts_of, ranks_of, tests_at
from milr.rules.wise import EDITIONS
from milr.types import Cost, UsageError

BUDGETS = (1, 2, 4, 8, 16, 21)
EXAMPLES = 6


def compare_runs(folders: Iterable[Path | str], *, against: str = "", partial: bool = False,
                 budgets: Sequence[int] = BUDGETS, on_run: OnRun | None = None) -> Comparison:  # fmt: skip
    """`rows_of` and `compare` in one; the same errors."""
    return compare(rows_of(folders, on_run=on_run), against=against, partial=partial, budgets=budgets)


def compare(rows: Sequence[Row], *, against: str = "", partial: bool = False,
            budgets: Sequence[int] = BUDGETS) -> Comparison:  # fmt: skip
    """Compare rows and test each against the row named `against` (default: the first), at their whole budgets.

    `budgets` are the pictures at which the curves are read. UsageError, with the reason, where the rows are not
    comparable. `partial`: only the prompts, seeds and samples that all of them have finished.
    """
    refuse(rows, partial=partial)
    base = _place_of(rows, against)
    aligned = align(rows, EDITIONS.get(rows[0].config.benchmark))
    titles = [row.title for row in rows]
    parts = parts_of(aligned, titles, base)
    ranks = ranks_of([part[OVERALL].returned for part in parts])
    curves = _curves(rows, aligned.whole, titles, base, budgets)
    config = rows[0].config
    return Comparison(
        benchmark=config.benchmark,
        metric=metric_of(config),
        prompts=len(set(aligned.groups)),
        samples=config.samples,
        searches=len(aligned.keys),
        seeds=tuple(sorted({key.seed for key in aligned.keys})),
        categories=aligned.categories,
        against=titles[base],
        rows=tuple(
            _row(row, aligned.samples[place], parts[place], ranks[place], curves[place])
            for place, row in enumerate(rows)
        ),
        notes=tuple(notes_of(rows, aligned.keys)),
        examples=_examples(aligned, titles),
    )


def _place_of(rows: Sequence[Row], name: str) -> int:
    """Where the row of this name or title is; the first one without a name."""
    for known in ([row.name for row in rows], [row.title for row in rows], [row.config.label for row in rows]):
        if name in known:
            return known.index(name)
    if name:
        raise UsageError(f"no row is called {name!r}; there are: {'; '.join(row.name for row in rows)}.")
    return 0


def _row(row: Row, samples: Sequence[Sample], parts: Mapping[str, Part], rank: int | None,
         curve: tuple[Point, ...]) -> RowNumbers:  # fmt: skip
    return RowNumbers(
        name=row.name,
        title=row.title,
        oracle=row.oracle,
        method=row.config.method,
        model=row.config.model,
        reward=row.config.reward,
        seeds=row.seeds,
        budget=budget_of(row),
        in_flight=row.in_flight,
        peak_memory=row.peak_memory,
        rank=rank,
        overall=parts[OVERALL],
        categories={name: part for name, part in parts.items() if name != OVERALL},
        spent=_spent([sample.cost for sample in samples]),
        moved=reduce(add, (sample.moved for sample in samples)),
        curve=curve,
    )


def _spent(costs: Sequence[Cost]) -> Spent:
    total = reduce(add, costs)
    n = len(costs)
    return Spent(total.pictures / n, total.token_steps / n, total.reward_calls / n, total.model_seconds / n,
                 total.reward_seconds / n)  # fmt: skip


# Curves


def _curves(rows: Sequence[Row], aligned: Aligned, titles: Sequence[str], base: int,
            budgets: Sequence[int]) -> list[tuple[Point, ...]]:  # fmt: skip
    """The curve of each row; no row but the one at `base` is read beyond its own budget."""
    curves: list[list[Point]] = [[] for _ in rows]
    own = [budget_of(row) for row in rows]
    for allowed in sorted({n for n in budgets if n < max(own)} | set(own)):
        read = [_stopped(row, samples, allowed) for row, samples in zip(rows, aligned.samples, strict=True)]
        values = [_metrics(one) if allowed <= limit or place == base else None
                  for place, (one, limit) in enumerate(zip(read, own, strict=True))]  # fmt: skip
        tests = tests_at(aligned, values, titles, base)
        for curve, found, limit, paired in zip(curves, read, own, tests, strict=True):
            if allowed <= limit and (allowed in budgets or allowed == limit):
                spent = _spent([cost for _, cost in found])
                curve.append(Point(allowed, measure(aligned, _metrics(found)), spent, paired))
    return [tuple(curve) for curve in curves]


Stopped = tuple[Picture, Cost]


def _stopped(row: Row, samples: Sequence[Sample], allowed: int) -> list[Stopped]:
    keeps_best = row.config.settings.get("returns", "best") == "best"
    return [stopped_after(sample, allowed, keeps_best=keeps_best) for sample in samples]


def _metrics(stopped: Sequence[Stopped]) -> list[float | None]:
    return [picture.metric for picture, _ in stopped]


def stopped_after(sample: Sample, allowed: int, *, keeps_best: bool = True) -> tuple[Picture, Cost]:
    """What a search would have returned, and spent, with a budget of `allowed` >= 1 pictures.

    The first picture with the highest search score so far, or the last one (not `keeps_best`, or nothing scored). A
    search that stopped earlier keeps its result.
    """
    costs = Cost()
    made: list[Picture] = []
    for picture in sample.pictures:
        made.append(picture)
        costs += picture.cost
        if costs.pictures >= allowed:
            break
    scored = [picture for picture in made if picture.search is not None]
    best = max(scored, key=lambda picture: picture.search or 0.0, default=made[-1])  # the first of equals
    return best if keeps_best else made[-1], costs


# Examples


@dataclass(frozen=True)
class _Contrast:
    """How far the rows' scores of one prompt, seed and sample lie apart."""

    spread: float
    place: int


def _examples(aligned: Aligned, titles: Sequence[str]) -> tuple[Example, ...]:
    """The prompts on which the rows differ most, the categories taking turns."""
    seen: dict[str, int] = {}
    ranked = []
    for found in sorted(_contrasts(aligned), key=lambda found: (-found.spread, found.place)):
        turn = seen[aligned.strata[found.place]] = seen.get(aligned.strata[found.place], 0) + 1
        ranked.append((turn, -found.spread, found.place))
    return tuple(_example(aligned, titles, place) for _, _, place in sorted(ranked)[:EXAMPLES])


def _contrasts(aligned: Aligned) -> list[_Contrast]:
    """For each prompt the seed and sample on which the rows differ most, where they differ."""
    widest: dict[object, _Contrast] = {}
    for place, group in enumerate(aligned.groups):
        returned = [samples[place].pictures[samples[place].returned].metric for samples in aligned.samples]
        scores = [score for score in returned if score is not None]
        spread = max(scores) - min(scores) if scores else 0.0
        if spread > (widest[group].spread if group in widest else 0.0):
            widest[group] = _Contrast(spread, place)
    return list(widest.values())


def _example(aligned: Aligned, titles: Sequence[str], place: int) -> Example:
    key = aligned.keys[place]
    shots = []
    for title, samples in zip(titles, aligned.samples, strict=True):
        picture = samples[place].pictures[samples[place].returned]
        shots.append(Shot(title, picture.metric, picture.path))
    return Example(key.prompt, aligned.strata[place], key.seed, key.sample, tuple(shots))
