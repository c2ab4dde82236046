"""Fits the weights of the detector's score, and measures how often it accepts right drawings and near misses.

`python -m milr.shapes.training.calibration`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import typer
from scipy.optimize import minimize
from statsmodels.stats.proportion import proportion_confint

from milr.shapes import detector
from milr.shapes.judge import Detect
from milr.shapes.scenes import SHAPES
from milr.shapes.training.near_misses import MISSES, RIGHT, Case, displaced

Kinds = Mapping[str, Callable[[np.random.Generator], Case]]
# the first weights, which select the first windows; the fitted weights keep their signs
START = np.array([-10.0, -2.0, 1.0, -2.0, -10.0, -1.0])
CAUTION = 0.5  # subtracted from the constant: accepting a near miss is worse than refusing a right drawing
PENALTY = 2e-5  # on the squared weights, which would grow without bound on separable data


@dataclass(frozen=True)
class Rates:
    """Shares of the cases of one kind in which a shape was found with a score above 0.3 and above 0.9."""

    above_0_3: float
    above_0_9: float


def windows(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, F) of all windows that the detector fits, and the index (n,) of the best shape of each."""
    difference, noise = detector.contrast_of(case.picture)
    corners = detector.candidates(difference, noise)
    if not len(corners):
        return np.zeros((0, len(detector.FEATURES))), np.zeros(0, int)
    fits = detector.fit(difference, noise, corners)
    return fits.features, detector.templates().shapes[fits.best]


def best_windows(case: Case, weights: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Features (F,) of the best window of an allowed shape, and of the best of another shape; None: no window."""
    features, shapes = windows(case)
    allowed = np.isin(shapes, [SHAPES.index(name) for name in case.allowed])
    scores = features @ weights

    def best(group: np.ndarray) -> np.ndarray | None:
        return features[group][scores[group].argmax()] if group.any() else None

    return best(allowed), best(~allowed)


def collect(cases: int, seed: int, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, F) and labels (n,): the windows that decide about right drawings (1) and near misses (0)."""
    rng = np.random.default_rng(seed)
    rows, labels = [], []
    for kinds, right in ((RIGHT, True), (MISSES, False)):
        for make in kinds.values():
            for _ in range(cases):
                allowed, other = best_windows(make(rng), weights)
                decisive = allowed if right else other
                if decisive is not None:
                    rows.append(decisive)
                    labels.append(right)
    return np.stack(rows), np.array(labels, float)


def logistic(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Penalised logistic weights with the signs of `START`; both classes have the same total weight."""
    balance = np.where(labels > 0, 0.5 / labels.mean(), 0.5 / (1 - labels.mean()))

    def loss(weights: np.ndarray) -> float:
        margins = features @ weights * (2 * labels - 1)
        return float((balance * np.logaddexp(0, -margins)).mean() + PENALTY / 2 * (weights[1:] ** 2).mean())

    signs = [(None, None), *((0, None) if start > 0 else (None, 0) for start in START[1:])]
    return np.asarray(minimize(loss, START, method="L-BFGS-B", bounds=signs, options={"maxiter": 5000}).x)


def rates(kinds: Kinds, cases: int, *, seed: int, detect: Detect = detector.detect) -> dict[str, Rates]:
    """How often `detect` finds, in each kind, the right shape (right drawings) or any wrong one (near misses)."""
    rng, by_kind = np.random.default_rng(seed), {}
    for name, make in kinds.items():
        scores = np.array([_best_score(make(rng), name not in MISSES, detect) for _ in range(cases)])
        by_kind[name] = Rates(float((scores > 0.3).mean()), float((scores > 0.9).mean()))
    return by_kind


def _best_score(case: Case, allowed: bool, detect: Detect) -> float:
    """The highest score of an allowed shape, or of one that is not allowed; 0 where there is none."""
    return max((detection.score for shape, detections in detect(case.picture).items() for detection in detections
                if (shape in case.allowed) == allowed), default=0.0)  # fmt: skip


def fit_weights(cases: int = 250, rounds: int = 3, seed: int = 11) -> np.ndarray:
    """The detector's weights: in each round fitted to the windows that decide under the last round's weights."""
    weights = START
    for number in range(rounds):
        weights = logistic(*collect(cases, seed + number, weights))
    weights[0] -= CAUTION
    return weights


def main(
    cases: Annotated[int, typer.Option(help="Pictures of each kind.")] = 1000,
    held_out: Annotated[bool, typer.Option(help="The held-out judge's rates instead.")] = False,
) -> None:
    """Print newly fitted weights, and the rates under the committed ones with Wilson's 95 % intervals."""
    detect: Detect = detector.detect
    if held_out:
        from milr.shapes.held_out import detect
    else:
        typer.echo(f"weights {[round(float(weight), 3) for weight in fit_weights()]}")
    for name, rate in rates({**RIGHT, "displaced": displaced, **MISSES}, cases, seed=12, detect=detect).items():
        typer.echo(f"{name:15s} above 0.3: {_with_interval(rate.above_0_3, cases)}   above 0.9: "
                   f"{_with_interval(rate.above_0_9, cases)}")  # fmt: skip


def _with_interval(share: float, cases: int) -> str:
    low, high = proportion_confint(share * cases, cases, method="wilson")
    return f"{share:7.2%} [{low:.2%}, {high:.2%}]"


if __name__ == "__main__":
    typer.run(main)
