"""Fits the weights of the detector's score, and measures what it accepts.

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
from milr.shapes.judge import Sight
from milr.shapes.scenes import SHAPES
from milr.shapes.training.near_misses import MISSES, RIGHT, Case, displaced

Kinds = Mapping[str, Callable[[np.random.Generator], Case]]
START = np.array([-10.0, -2.0, 1.0, -2.0, -10.0, -1.0])  # signs as they must be; the first choice of windows
CAUTION = 0.5  # taken off the constant: a miss that passes is worse than a drawing refused
PENALTY = 2e-5  # of the squared weights, against separable data


@dataclass(frozen=True)
class Rates:
    """Shares of the cases of one kind in which a shape was found above 0.3 and above 0.9."""

    found: float
    counted: float


def windows(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, F) of all windows that the detector looks at, and the shapes (n,) they look like."""
    difference, noise = detector.contrast_of(case.picture)
    corners = detector.candidates(difference, noise)
    if not len(corners):
        return np.zeros((0, len(detector.FEATURES))), np.zeros(0, int)
    fits = detector.fit(difference, noise, corners)
    return fits.features, detector.templates().shapes[fits.best]


def worst_and_best(case: Case, weights: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The features of the best window that shows an allowed shape, and of the best that shows another."""
    features, shapes = windows(case)
    allowed = np.isin(shapes, [SHAPES.index(name) for name in case.allowed])
    scores = features @ weights
    picked = []
    for chosen in (allowed, ~allowed):
        picked.append(features[chosen][scores[chosen].argmax()] if chosen.any() else None)
    return picked[0], picked[1]


def collect(cases: int, seed: int, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, F) and labels (n,): the windows that decide about right drawings (1) and about misses (0)."""
    rng = np.random.default_rng(seed)
    rows, labels = [], []
    for kinds, right in ((RIGHT, True), (MISSES, False)):
        for make in kinds.values():
            for _ in range(cases):
                shown, wrong = worst_and_best(make(rng), weights)
                chosen = shown if right else wrong
                if chosen is not None:
                    rows.append(chosen)
                    labels.append(right)
    return np.stack(rows), np.array(labels, float)


def logistic(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Penalised logistic weights with the signs of `START`; both classes weigh the same."""
    balance = np.where(labels > 0, 0.5 / labels.mean(), 0.5 / (1 - labels.mean()))

    def loss(weights: np.ndarray) -> float:
        margins = features @ weights * (2 * labels - 1)
        return float((balance * np.logaddexp(0, -margins)).mean() + PENALTY / 2 * (weights[1:] ** 2).mean())

    signs = [(None, None), *((0, None) if start > 0 else (None, 0) for start in START[1:])]
    return np.asarray(minimize(loss, START, method="L-BFGS-B", bounds=signs, options={"maxiter": 5000}).x)


def rates(kinds: Kinds, cases: int, seed: int, see: Sight = detector.detect) -> dict[str, Rates]:
    """What a judge's eye finds in each kind: the right shape for right drawings, any wrong one for misses."""
    rng, found = np.random.default_rng(seed), {}
    for name, make in kinds.items():
        scores = np.array([_decisive(make(rng), name not in MISSES, see) for _ in range(cases)])
        found[name] = Rates(float((scores > 0.3).mean()), float((scores > 0.9).mean()))
    return found


def _decisive(case: Case, right: bool, see: Sight) -> float:
    seen = see(case.picture)
    scores = [one.score for shape, objects in seen.items() for one in objects if (shape in case.allowed) == right]
    return max(scores, default=0.0)


def fit_weights(cases: int = 250, rounds: int = 3, seed: int = 11) -> np.ndarray:
    """The detector's weights: fitted anew on the windows that decide under the last weights."""
    weights = START
    for turn in range(rounds):
        weights = logistic(*collect(cases, seed + turn, weights))
    weights[0] -= CAUTION
    return weights


def main(
    cases: Annotated[int, typer.Option(help="Pictures of each kind.")] = 1000,
    held_out: Annotated[bool, typer.Option(help="The held-out judge's rates instead.")] = False,
) -> None:
    """Tell new weights of the detector, and the rates under the committed ones with Wilson's 95 % intervals."""
    see: Sight = detector.detect
    if held_out:
        from milr.shapes.held_out import see
    else:
        typer.echo(f"weights {[round(float(weight), 3) for weight in fit_weights()]}")
    for name, rate in rates({**RIGHT, "displaced": displaced, **MISSES}, cases, seed=12, see=see).items():
        typer.echo(f"{name:15s} above 0.3: {_told(rate.found, cases)}   above 0.9: {_told(rate.counted, cases)}")


def _told(share: float, cases: int) -> str:
    low, high = proportion_confint(share * cases, cases, method="wilson")
    return f"{share:7.2%} [{low:.2%}, {high:.2%}]"


if __name__ == "__main__":
    typer.run(main)
