"""From the log-likelihood by which a judge ranks pictures to a score in [0, 1]."""

from __future__ import annotations

import math

Calibration = tuple[float, float]


def calibrated(value: float, calibration: Calibration) -> float:
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
