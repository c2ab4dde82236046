"""95 % intervals. Samples of one prompt are not independent, so prompts are what is resampled."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
SEED = 20250926
Group = Hashable


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


def interval_of_share(groups: Sequence[Group], right: Sequence[bool]) -> Interval | None:
    """Wilson's interval for one sample per prompt, otherwise a bootstrap clustered by prompt.

    Where all prompts have the same share the bootstrap sees no spread: then Wilson's with one vote per prompt.
    """
    if not right:
        return None
    prompts = len(set(groups))
    if prompts == len(right):
        return wilson(sum(right), prompts)
    return clustered_bootstrap(groups, right) or wilson(prompts * sum(right) / len(right), prompts)


def interval_of_mean(groups: Sequence[Group], values: Sequence[float]) -> Interval | None:
    """The clustered bootstrap's interval; None where the prompts do not differ or there is only one."""
    return clustered_bootstrap(groups, values)


def wilson(count: float, n: int) -> Interval:
    """Wilson (1927), the score interval of a share."""
    from statsmodels.stats.proportion import proportion_confint  # slow to import, rarely needed

    low, high = proportion_confint(count, n, alpha=0.05, method="wilson")
    return Interval(float(low), float(high))


def clustered_bootstrap(groups: Sequence[Group], values: Sequence[float]) -> Interval | None:
    """Percentile bootstrap of the mean that draws whole groups with replacement; None when all group means agree."""
    sums, counts = _totals(groups, values)
    if not len(sums) or np.allclose(sums / counts, (sums / counts)[0], rtol=0, atol=1e-12):
        return None
    drawn = np.random.default_rng(SEED).integers(0, len(sums), (RESAMPLES, len(sums)))  # (RESAMPLES, groups)
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(low), float(high))


def _totals(groups: Sequence[Group], values: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and number of the values of each group, in order of first appearance."""
    places = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    sums, counts = np.zeros(len(places)), np.zeros(len(places))
    for group, value in zip(groups, values, strict=True):
        sums[places[group]] += value
        counts[places[group]] += 1
    return sums, counts
