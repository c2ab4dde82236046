"""95 % intervals and paired tests. Samples of one prompt are not independent: whole prompts are drawn or flipped.

A category is a stratum: it is given by the benchmark, so prompts are drawn within it, and it weighs the same whatever
its size. Everything is seeded: the same values give the same numbers.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
FLIPS = 9999
SEED = 20250926
FEW = 10  # fewer misses, or changed prompts, than this and the bootstrap's ends are too short
NONE = 1e-12  # rounding: what is smaller is no difference
Group = Hashable
Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


class PairedTest(NamedTuple):
    """`difference` (second minus first, in [-1, 1]) with its interval, the two-sided `p` and the name of the test."""

    difference: float
    interval: Interval | None
    p: float
    name: str


class _Category(NamedTuple):
    """The prompts of one category: sum and number of the values of each."""

    sums: Floats  # (prompts,)
    counts: Floats  # (prompts,)

    @property
    def mean(self) -> float:
        return float(self.sums.sum() / self.counts.sum())

    @property
    def variance(self) -> float:
        """Of the mean, with prompts as what was drawn; 0 for a single prompt."""
        n, rest = len(self.sums), self.sums - self.mean * self.counts
        return float((rest**2).sum() / self.counts.sum() ** 2 * n / max(n - 1, 1))


def interval_of_share(groups: Sequence[Group], right: Sequence[bool]) -> Interval | None:
    """`stratified_interval` of verdicts in one category; None where there are none."""
    return stratified_interval([""] * len(right), groups, right)


def interval_of_mean(groups: Sequence[Group], values: Sequence[float]) -> Interval | None:
    """The clustered bootstrap's interval; None where the prompts do not differ or there is only one."""
    return clustered_bootstrap(groups, values)


def wilson(count: float, n: float, alpha: float = 0.05) -> Interval:
    """Wilson (1927), the score interval of a share, at level 1 - `alpha`; neither number need be whole."""
    from statsmodels.stats.proportion import proportion_confint  # slow to import, rarely needed

    low, high = proportion_confint(count, n, alpha=alpha, method="wilson")
    return Interval(float(low), float(high))


def clustered_bootstrap(groups: Sequence[Group], values: Sequence[float]) -> Interval | None:
    """Percentile bootstrap of the mean that draws whole groups with replacement; None when all group means agree."""
    category = _Category(*_totals(groups, values))
    means = category.sums / category.counts
    if not len(means) or np.allclose(means, means[0], rtol=0, atol=NONE):
        return None
    low, high = np.quantile(_resample(category, np.random.default_rng(SEED)), [0.025, 0.975])
    return Interval(float(low), float(high))


def mean_of(strata: Sequence[Group], values: Sequence[float]) -> float:
    """The plain mean of the category means (GenEval's overall); `strata[i]` is the category of `values[i]`.

    Raises ValueError where there is no value, or not a category for each.
    """
    sums, counts = _totals(strata, values)
    if not len(sums):
        raise ValueError("a mean needs at least one value")
    return float((sums / counts).mean())


def stratified_interval(
    strata: Sequence[Group], groups: Sequence[Group], values: Sequence[float],
) -> Interval | None:  # fmt: skip
    """95 % interval of `mean_of`, with the prompts of each category as what was drawn; None where there is no value.

    `strata[i]` and `groups[i]` are the category and the prompt of `values[i]`, which is in [0, 1] (else ValueError).
    One verdict per prompt in one category: Wilson (1927). Otherwise the expanded percentile bootstrap, by prompt within
    category (Efron 1979; Hesterberg 2015), and where it counts fewer than FEW misses (or hits), or sees no spread at
    all, Wilson's with as many prompts as give the same variance (Dean and Pagano 2015).
    Measured on simulated runs (1 and 3 seeds; from 40 prompts at 0.92 to 300 in six categories): it holds the truth in
    93.4 to 96 %, where the plain bootstrap has 88 % near 1 and 87 % with 5 prompts in a category. Graded scores near 1
    remain hard: 92 % with 80 prompts at 0.97, 84 % with ten at 0.92.
    """
    if len(values) and not (min(values) >= -NONE and max(values) <= 1 + NONE):
        raise ValueError("an interval needs values between 0 and 1")
    categories = _categories(strata, groups, values)
    return _interval(categories) if categories else None


def paired_test(
    strata: Sequence[Group], groups: Sequence[Group], first: Sequence[float], second: Sequence[float],
) -> PairedTest:  # fmt: skip
    """Is `mean_of(second)` another than `mean_of(first)`? The values are aligned: same prompt, seed and sample.

    One verdict per prompt, and categories of one size: exact McNemar (1947). Otherwise each prompt's difference changes
    sign at will (Fisher 1935; all 2^n ways up to twelve prompts, else FLIPS at random and the one seen).
    Measured: a true null is rejected in at most 5.5 % (hardly ever where few prompts changed); by a bootstrap's p in up
    to 8 %.
    The interval is the bootstrap's or, where fewer than FEW prompts changed, made of those of gains and of losses.
    Raises ValueError where there is no value or the lengths differ.
    """
    before, after = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    difference = mean_of(strata, second) - mean_of(strata, first)
    categories = _categories(strata, groups, after - before)
    interval = _interval_of_difference(categories)
    if _is_mcnemar(categories, before, after):
        return PairedTest(difference, interval, _mcnemar(before, after), "exact McNemar")
    return PairedTest(difference, interval, _sign_flip(categories), "sign-flip permutation by prompt")


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Holm (1979): `ps` corrected for how many they are; a None stays None and does not count."""
    from statsmodels.stats.multitest import multipletests

    tested = [p for p in ps if p is not None]
    corrected = iter(multipletests(tested, method="holm")[1] if tested else ())
    return [None if p is None else float(next(corrected)) for p in ps]


def _interval(categories: Sequence[_Category]) -> Interval:
    if len(categories) == 1 and _is_vote(categories[0]):
        return wilson(categories[0].sums.sum(), len(categories[0].sums))
    mean, prompts, tail = min(max(_mean(categories), 0.0), 1.0), _effective_prompts(categories), _tail(categories)
    if prompts * min(mean, 1 - mean) < FEW:
        return wilson(mean * prompts, prompts, 2 * tail)
    return _percentiles(categories, tail, 0, 1)


def _interval_of_difference(categories: Sequence[_Category]) -> Interval:
    """The bootstrap's; where few prompts changed, gains and losses apart and put together (Zou and Donner 2008)."""
    if sum(int((abs(category.sums) > NONE).sum()) for category in categories) >= FEW:
        return _percentiles(categories, _tail(categories), -1, 1)
    gains = [category._replace(sums=np.maximum(category.sums, 0)) for category in categories]
    losses = [category._replace(sums=np.maximum(-category.sums, 0)) for category in categories]
    gain, loss, more, less = _mean(gains), _mean(losses), _interval(gains), _interval(losses)
    low = gain - loss - np.hypot(gain - more.low, less.high - loss)
    high = gain - loss + np.hypot(more.high - gain, loss - less.low)
    return Interval(max(float(low), -1.0), min(float(high), 1.0))


def _percentiles(categories: Sequence[_Category], tail: float, lowest: float, highest: float) -> Interval:
    rng = np.random.default_rng(SEED)
    means = np.mean([_widened(category, rng) for category in categories], axis=0)  # (RESAMPLES,)
    low, high = np.clip(np.quantile(means, [tail, 1 - tail]), lowest, highest)
    return Interval(float(low), float(high))


def _widened(category: _Category, rng: np.random.Generator) -> Floats:
    """Resampled means. Drawing n of n prompts varies by (n - 1) / n too little: made good here."""
    n = len(category.sums)
    return category.mean + np.sqrt(n / max(n - 1, 1)) * (_resample(category, rng) - category.mean)


def _resample(category: _Category, rng: np.random.Generator) -> Floats:
    """The category's mean, RESAMPLES times, with as many prompts drawn with replacement."""
    drawn = rng.integers(0, len(category.sums), (RESAMPLES, len(category.sums)))
    return category.sums[drawn].sum(1) / category.counts[drawn].sum(1)


def _tail(categories: Sequence[_Category]) -> float:
    """The share to cut at each end: below 2.5 %, as Student's t is wider than the normal (Welch and Satterthwaite)."""
    from scipy.special import ndtr, stdtrit

    variances = np.array([category.variance for category in categories])
    if not variances.sum() > NONE**2:
        return 0.025
    weights = variances / variances.sum()
    freedom = 1 / sum(w**2 / max(len(category.sums) - 1, 1) for w, category in zip(weights, categories, strict=True))
    return float(ndtr(-stdtrit(freedom, 0.975)))


def _effective_prompts(categories: Sequence[_Category]) -> float:
    """How many independent verdicts have a mean that varies as much; without spread, one verdict per prompt."""
    mean, variance = _mean(categories), sum(category.variance for category in categories) / len(categories) ** 2
    if not variance > NONE**2:
        return len(categories) ** 2 / sum(1 / len(category.sums) for category in categories)
    return mean * (1 - mean) / variance


def _is_mcnemar(categories: Sequence[_Category], first: Floats, second: Floats) -> bool:
    """Verdicts, one per prompt, and every prompt weighs the same."""
    verdicts = np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all()
    alone = all((category.counts == 1).all() for category in categories)
    return bool(verdicts and alone and len({len(category.sums) for category in categories}) == 1)


def _mcnemar(first: Floats, second: Floats) -> float:
    from statsmodels.stats.contingency_tables import mcnemar

    table = [[int(((first == a) & (second == b)).sum()) for b in (0, 1)] for a in (0, 1)]
    return float(mcnemar(table, exact=True).pvalue)


def _sign_flip(categories: Sequence[_Category]) -> float:
    """The share of sign patterns under which the difference is at least as large as the one seen."""
    shares = [category.sums / category.counts.sum() / len(categories) for category in categories]
    effects = np.concatenate(shares)
    effects = effects[abs(effects) > NONE]  # (changed prompts,)
    flipped = effects.sum() - 2 * (_flips(len(effects)) @ effects)
    return float((abs(flipped) >= abs(effects.sum()) - NONE).mean())


def _flips(n: int) -> NDArray[np.int8]:
    """Which of n prompts are flipped, pattern by pattern; the first flips none."""
    if n <= 12:
        return (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(np.int8)
    drawn = np.random.default_rng(SEED).integers(0, 2, (FLIPS + 1, n), dtype=np.int8)
    drawn[0] = 0
    return drawn


def _is_vote(category: _Category) -> bool:
    return bool((category.counts == 1).all() and np.isin(category.sums, (0, 1)).all())


def _mean(categories: Iterable[_Category]) -> float:
    return float(np.mean([category.mean for category in categories]))


def _categories(strata: Sequence[Group], groups: Sequence[Group], values: Iterable[float]) -> list[_Category]:
    """The values by category, then by prompt, both in order of first appearance."""
    members: dict[Group, list[tuple[Group, float]]] = {}
    for stratum, group, value in zip(strata, groups, values, strict=True):
        members.setdefault(stratum, []).append((group, value))
    return [_Category(*_totals(*zip(*pairs, strict=True))) for pairs in members.values()]


def _totals(groups: Iterable[Group], values: Iterable[float]) -> tuple[Floats, Floats]:
    """Sum and number of the values of each group, in order of first appearance."""
    sums: dict[Group, float] = {}
    counts: dict[Group, int] = {}
    for group, value in zip(groups, values, strict=True):
        sums[group] = sums.get(group, 0.0) + value
        counts[group] = counts.get(group, 0) + 1
    return np.array(list(sums.values()), dtype=float), np.array(list(counts.values()), dtype=float)
