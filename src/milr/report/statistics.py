"""95 % intervals and paired tests. Samples of one prompt are not independent, so prompts are the units of resampling.

A category is a stratum: prompts are resampled within it, and it has the same weight whatever its size. All randomness
is seeded: the same values give the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
FLIPS = 9999
SEED = 20250926
MOST_DRAWN = 2**16  # prompts that are resampled, or flipped, at a time
MANY = 1000  # prompts, from which on equal ones are resampled together
FEW = 10  # with fewer misses, or fewer changed prompts, the bootstrap's intervals are too short
ROUNDING = 1e-12  # a smaller difference is rounding
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
    """The prompts of one category: the sum and the number of the values of each prompt."""

    sums: Floats  # (prompts,)
    counts: Floats  # (prompts,)

    @property
    def mean(self) -> float:
        return float(self.sums.sum() / self.counts.sum())

    @property
    def variance(self) -> float:
        """The variance of the mean over resampled prompts; 0 for a single prompt."""
        n, residuals = len(self.sums), self.sums - self.mean * self.counts
        return float((residuals**2).sum() / self.counts.sum() ** 2 * n / max(n - 1, 1))


def interval_of_share(groups: Sequence[Group], right: Sequence[bool]) -> Interval | None:
    """`stratified_interval` of verdicts in one category; None where there is no verdict."""
    return stratified_interval([""] * len(right), groups, right)


def interval_of_mean(groups: Sequence[Group], values: Sequence[float]) -> Interval | None:
    """The interval of the clustered bootstrap; None where there is one prompt or all prompts have the same mean."""
    return clustered_bootstrap(groups, values)


def wilson(count: float, n: float, alpha: float = 0.05) -> Interval:
    """Wilson (1927), the score interval of the share `count` / `n` at level 1 - `alpha`; both may be fractions."""
    z, share = -NormalDist().inv_cdf(alpha / 2), count / n  # statsmodels' takes half a second to import
    centre, half = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = ((centre + sign * half) / (1 + z**2 / n) for sign in (-1, 1))
    return Interval(max(low, 0.0), min(high, 1.0))


def clustered_bootstrap(groups: Sequence[Group], values: Sequence[float]) -> Interval | None:
    """Percentile bootstrap of the mean that resamples whole groups; None when all group means are equal."""
    category = _Category(*_totals(groups, values))
    means = category.sums / category.counts
    if not len(means) or np.allclose(means, means[0], rtol=0, atol=ROUNDING):
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
    """95 % interval of `mean_of`, over resampled prompts within each category; None where there is no value.

    `strata[i]` and `groups[i]` are the category and the prompt of `values[i]`, which is in [0, 1] (else ValueError).
    For one verdict per prompt in one category it is Wilson's interval (1927). Otherwise it is the expanded percentile
    bootstrap, by prompt within category (Efron 1979; Hesterberg 2015). Where that has fewer than FEW misses (or hits),
    or no spread at all, it is Wilson's with the number of prompts that gives the same variance (Dean and Pagano 2015).
    Coverage on simulated runs (1 and 3 seeds; from 40 prompts at 0.92 to 300 in six categories) is 93.4 to 96 %; that
    of the plain bootstrap is 88 % near 1, and 87 % with 5 prompts in a category. It is lower for graded scores near 1:
    92 % with 80 prompts at 0.97, 84 % with ten at 0.92.
    """
    if len(values) and not (min(values) >= -ROUNDING and max(values) <= 1 + ROUNDING):
        raise ValueError("an interval needs values between 0 and 1")
    categories = _categories(strata, groups, values)
    return _interval(categories) if categories else None


def paired_test(
    strata: Sequence[Group], groups: Sequence[Group], first: Sequence[float], second: Sequence[float],
) -> PairedTest:  # fmt: skip
    """Tests whether `mean_of(second)` differs from `mean_of(first)`; values are paired by prompt, seed and sample.

    For one verdict per prompt and categories of equal size it is the exact test of McNemar (1947). Otherwise it is the
    sign-flip permutation test by prompt (Fisher 1935): all 2^n sign patterns up to twelve prompts, else FLIPS random
    ones and the observed one. In simulations a true null is rejected in at most 5.5 % (less where few prompts changed);
    a bootstrap's p rejects it in up to 8 %.
    The interval is the bootstrap's or, where fewer than FEW prompts changed, combined from those of gains and losses.
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
    """Holm (1979): `ps` corrected for their number; a None stays None and does not count."""
    tested = [p for p in ps if p is not None]
    if not tested:
        return list(ps)
    from statsmodels.stats.multitest import multipletests  # slow to import

    corrected = iter(multipletests(tested, method="holm")[1])
    return [None if p is None else float(next(corrected)) for p in ps]


def _interval(categories: Sequence[_Category]) -> Interval:
    if len(categories) == 1 and _is_vote(categories[0]):
        return wilson(categories[0].sums.sum(), len(categories[0].sums))
    mean, prompts, tail = min(max(_mean(categories), 0.0), 1.0), _effective_prompts(categories), _tail(categories)
    if prompts * min(mean, 1 - mean) < FEW:
        return wilson(mean * prompts, prompts, 2 * tail)
    return _percentiles(categories, tail, lowest=0, highest=1)


def _interval_of_difference(categories: Sequence[_Category]) -> Interval:
    """The bootstrap's; where few prompts changed, the intervals of gains and losses combined (Zou and Donner 2008)."""
    if sum(int((abs(category.sums) > ROUNDING).sum()) for category in categories) >= FEW:
        return _percentiles(categories, _tail(categories), lowest=-1, highest=1)
    gains = [category._replace(sums=np.maximum(category.sums, 0)) for category in categories]
    losses = [category._replace(sums=np.maximum(-category.sums, 0)) for category in categories]
    gain, loss = _mean(gains), _mean(losses)
    gain_ends, loss_ends = _interval(gains), _interval(losses)
    low = gain - loss - np.hypot(gain - gain_ends.low, loss_ends.high - loss)
    high = gain - loss + np.hypot(gain_ends.high - gain, loss - loss_ends.low)
    return Interval(max(float(low), -1.0), min(float(high), 1.0))


def _percentiles(categories: Sequence[_Category], tail: float, *, lowest: float, highest: float) -> Interval:
    rng = np.random.default_rng(SEED)
    means = np.mean([_expanded_resamples(category, rng) for category in categories], axis=0)  # (RESAMPLES,)
    low, high = np.clip(np.quantile(means, [tail, 1 - tail]), lowest, highest)
    return Interval(float(low), float(high))


def _expanded_resamples(category: _Category, rng: np.random.Generator) -> Floats:
    """Resampled means, spread by sqrt(n / (n - 1)): resampling n of n prompts varies too little by that factor."""
    n = len(category.sums)
    return category.mean + np.sqrt(n / max(n - 1, 1)) * (_resample(category, rng) - category.mean)


def _resample(category: _Category, rng: np.random.Generator) -> Floats:
    """The category's mean in RESAMPLES resamples of its prompts, drawn with replacement, (RESAMPLES,).

    A few resamples are drawn at a time, which a processor's cache holds; the numbers are those of all at once. Where
    many prompts have few different results, as verdicts are, how often each result is drawn is drawn instead, which
    has the same distribution (multinomial) and takes a fraction of the time.
    """
    n = len(category.sums)
    if n >= MANY:
        results, number = np.unique(np.stack([category.sums, category.counts]), axis=1, return_counts=True)
        if len(number) <= n // 10:
            times = rng.multinomial(n, number / n, RESAMPLES)  # (RESAMPLES, different results)
            resampled: Floats = (times @ results[0]) / (times @ results[1])
            return resampled
    rows = max(1, MOST_DRAWN // n)
    sizes = [min(rows, RESAMPLES - start) for start in range(0, RESAMPLES, rows)]
    return np.concatenate([_means_of(category, rng.integers(0, n, (size, n))) for size in sizes])


def _means_of(category: _Category, drawn: NDArray[np.int64]) -> Floats:
    """The mean of each row of `drawn`, (resamples, n), which indexes prompts."""
    counts, n = category.counts, drawn.shape[1]
    drawn_counts = counts[0] * n if (counts == counts[0]).all() else counts[drawn].sum(1)
    means: Floats = category.sums[drawn].sum(1) / drawn_counts
    return means


def _tail(categories: Sequence[_Category]) -> float:
    """The tail probability of the percentiles: below 2.5 %, as Student's t is wider than the normal distribution.

    Degrees of freedom after Welch (1947) and Satterthwaite (1946).
    """
    from scipy.special import ndtr, stdtrit

    variances = np.array([category.variance for category in categories])
    if not variances.sum() > ROUNDING**2:
        return 0.025
    weights = variances / variances.sum()
    freedom = 1 / sum(w**2 / max(len(category.sums) - 1, 1) for w, category in zip(weights, categories, strict=True))
    return float(ndtr(-stdtrit(freedom, 0.975)))


def _effective_prompts(categories: Sequence[_Category]) -> float:
    """The number of independent verdicts whose mean has the same variance; without variance, that of the prompts."""
    mean, variance = _mean(categories), sum(category.variance for category in categories) / len(categories) ** 2
    if not variance > ROUNDING**2:
        return len(categories) ** 2 / sum(1 / len(category.sums) for category in categories)
    return mean * (1 - mean) / variance


def _is_mcnemar(categories: Sequence[_Category], first: Floats, second: Floats) -> bool:
    """Whether there is one verdict per prompt, and every prompt has the same weight."""
    verdicts = np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all()
    one_each = all((category.counts == 1).all() for category in categories)
    return bool(verdicts and one_each and len({len(category.sums) for category in categories}) == 1)


def _mcnemar(first: Floats, second: Floats) -> float:
    from statsmodels.stats.contingency_tables import mcnemar

    table = [[int(((first == a) & (second == b)).sum()) for b in (0, 1)] for a in (0, 1)]
    return float(mcnemar(table, exact=True).pvalue)


def _sign_flip(categories: Sequence[_Category]) -> float:
    """The share of sign patterns under which the difference is at least as large as the observed one."""
    shares = [category.sums / category.counts.sum() / len(categories) for category in categories]
    effects = np.concatenate(shares)
    effects = effects[abs(effects) > ROUNDING]  # (changed prompts,)
    flips, rows = (
        _flips(len(effects)),
        max(1, MOST_DRAWN // max(1, len(effects))),
    )  # rows as floats: eight times as large
    sums = [flips[start : start + rows] @ effects for start in range(0, len(flips), rows)]
    flipped = effects.sum() - 2 * np.concatenate(sums)
    return float((abs(flipped) >= abs(effects.sum()) - ROUNDING).mean())


def _flips(n: int) -> NDArray[np.int8]:
    """Which of n prompts are flipped in each pattern, (patterns, n); the first pattern flips none."""
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
    """The values grouped by category and prompt, both in order of first appearance."""
    members: dict[Group, list[tuple[Group, float]]] = {}
    for stratum, group, value in zip(strata, groups, values, strict=True):
        members.setdefault(stratum, []).append((group, value))
    return [_Category(*_totals(*zip(*pairs, strict=True))) for pairs in members.values()]


def _totals(groups: Iterable[Group], values: Iterable[float]) -> tuple[Floats, Floats]:
    """The sum and the number of the values of each group, in order of first appearance."""
    sums: dict[Group, float] = {}
    counts: dict[Group, int] = {}
    for group, value in zip(groups, values, strict=True):
        sums[group] = sums.get(group, 0.0) + value
        counts[group] = counts.get(group, 0) + 1
    return np.array(list(sums.values()), dtype=float), np.array(list(counts.values()), dtype=float)
