"""From the log-likelihood by which a judge ranks pictures to a score in [0, 1], and how that is fitted and checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

LEAST_SCORE = 1e-9  # of a judge without a calibration, whose logarithm is calibrated
FLOORS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)  # shares of the values that are tried, see `fit_logistic`
BINS = 10  # of probabilities, of equal width
HIGH = 0.9  # the share of the pictures below which a score of as much lies, where there are no labels


class Calibration(NamedTuple):
    """The logistic 1 / (1 + exp(-(slope x + intercept))).

    x is a judge's log-likelihood in nats, or with `per_token` the logarithm of the score that it has without one.
    """

    slope: float
    intercept: float
    per_token: bool = False

    def score(self, total: float, uncalibrated: float) -> float:
        """The score of a picture with the log-likelihood `total`, and the score `uncalibrated` without this."""
        x = math.log(max(uncalibrated, LEAST_SCORE)) if self.per_token else total
        return calibrated(x, (self.slope, self.intercept))

    def identity(self) -> list[float | str]:
        """Its numbers as plain data."""
        return [self.slope, self.intercept, *(["per token"] if self.per_token else [])]


class Fit(NamedTuple):
    """How probabilities and what is right agree on `pictures` that nothing was fitted to.

    `brier` is the mean squared difference; `error` the expected calibration error over BINS; `right` the share right.
    """

    pictures: int
    right: float
    brier: float
    error: float


def calibrated(value: float, calibration: tuple[float, float]) -> float:
    """The logistic 1 / (1 + exp(-(a x + b))) of a log-likelihood x in nats, with (a, b) the calibration."""
    slope, intercept = calibration
    exponent = slope * value + intercept
    if exponent < 0:  # exp of a large positive number would overflow
        return math.exp(exponent) / (1 + math.exp(exponent))
    return 1 / (1 + math.exp(-exponent))


def geometric_mean(values: list[float]) -> float:
    """The geometric mean of numbers in [0, 1]; 0 where one of them is."""
    if min(values) <= 0:
        return 0.0
    return min(1.0, math.exp(sum(map(math.log, values)) / len(values)))


def fit_logistic(values: Sequence[float], right: Sequence[bool]) -> tuple[float, float]:
    """Slope (at least 0) and intercept of the logistic with the largest likelihood; both kinds must be there.

    Pictures far below any doubt would decide the slope. So the fit takes the lowest share of the values for the largest
    of them: of FLOORS the share whose logistic has the smallest Brier score over all values as they are.
    """
    x, y = np.asarray(values, float), np.asarray(right, float)
    pairs = [_fit_logistic(np.maximum(x, np.quantile(x, share)), y) for share in FLOORS]
    return min(pairs, key=lambda pair: agreement([calibrated(value, pair) for value in values], right).brier)


def _fit_logistic(x: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """The logistic of all values; a weak penalty keeps its slope finite where they separate right from wrong."""
    centre, scale = float(x.mean()), float(x.std()) or 1.0
    x, sign = (x - centre) / scale, 2 * right - 1

    def loss(weights: np.ndarray) -> float:
        margins = sign * (weights[0] * x + weights[1])
        return float(np.logaddexp(0, -margins).mean() + 1e-4 * weights[0] ** 2)

    steepness, shift = minimize(loss, np.ones(2), method="L-BFGS-B", bounds=[(0, None), (None, None)]).x
    return float(steepness / scale), float(shift - steepness * centre / scale)


def fit_quantiles(values: Sequence[float]) -> tuple[float, float]:
    """Slope and intercept of the logistic that is 0.5 at the median and HIGH at that quantile; no labels are needed.

    ValueError where both quantiles are the same.
    """
    median, high = np.quantile(values, 0.5), np.quantile(values, HIGH)
    if not high > median:
        raise ValueError("half of the pictures have the same score")
    slope = math.log(HIGH / (1 - HIGH)) / float(high - median)
    return slope, -slope * float(median)


def agreement(probabilities: Sequence[float], right: Sequence[bool]) -> Fit:
    """How well probabilities are calibrated."""
    p, y = np.asarray(probabilities, float), np.asarray(right, float)
    bins = np.minimum((p * BINS).astype(int), BINS - 1)
    error = sum(abs(float((p - y)[bins == index].sum())) for index in range(BINS)) / len(p)
    return Fit(len(p), float(y.mean()), float(((p - y) ** 2).mean()), error)
