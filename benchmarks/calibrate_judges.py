"""Fits the calibrations of nano's own judges (shapes/world.py) to finished runs, and compares the judges' choices.

1. `milr bench shapes --split hard-development --reward own --method redraw_sampled --pictures 8 --no-stop --out RUN`
2. `python benchmarks/calibrate_judges.py RUN [RUN...]`

A run by the reward `own` holds everything: its parts and its score give what `seen`, `likelihood` and `self` would have
said of each picture. The detector says which pictures are right. Never fit on the split `hard`.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.optimize import minimize

from milr.rewards.own import LEAST_YES
from milr.runs.store import RunStore
from milr.shapes.judge import judge
from milr.shapes.world import ShapesWorld

LEAST = -25.0  # nats; pictures below are as wrong as those at it, and would flatten the logistic
TOKENS = 64
NO_SCORE = -1000.0


def read(folder: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Whether each picture is right (prompts, pictures), and each judge's value of it."""
    slope, intercept = ShapesWorld().calibration("own") or (1.0, 0.0)
    rights, values = [], []
    for record in RunStore(folder).records():
        assert record.prompt.metadata is not None
        pictures = [Image.open(folder / step.picture).convert("RGB") for step in record.steps]
        rights.append([judge(picture, record.prompt.metadata).value == 1 for picture in pictures])
        values.append([_values(step.score, step.parts, slope, intercept) for step in record.steps])
    names = ("self", "likelihood", "seen", "own")
    return np.array(rights), dict(zip(names, np.moveaxis(np.array(values), -1, 0), strict=True))


def _values(score: float | None, parts: dict[str, float], slope: float, intercept: float) -> tuple[float, ...]:
    if score is None:
        return (NO_SCORE,) * 4
    score = min(max(score, 1e-300), 1 - 1e-16)
    own = (math.log(score) - math.log1p(-score) - intercept) / slope
    yes = math.log(parts["yes"] + LEAST_YES)
    likelihood = TOKENS * sum(math.log(max(parts[name], 1e-300)) for name in ("bare", "guided"))
    return yes, likelihood, own - yes - likelihood, own


def fit(values: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of the logistic with the largest likelihood."""
    clipped, sign = np.maximum(values, LEAST), 2 * right - 1
    loss = lambda weights: np.logaddexp(0, -sign * (weights[0] * clipped / 10 + weights[1])).mean()  # noqa: E731
    slope, intercept = minimize(loss, np.ones(2), method="BFGS").x
    return slope / 10, intercept


def chosen(values: np.ndarray, right: np.ndarray, pictures: int) -> np.ndarray:
    """Whether each prompt's picture with the largest value, of the first so many, is right."""
    return right[np.arange(len(right)), values[:, :pictures].argmax(1)]


def area_within_prompts(values: np.ndarray, right: np.ndarray) -> float:
    """The area under the ROC curve, averaged over the prompts with right and wrong pictures."""
    areas = [(row[good][:, None] > row[~good]).mean() + 0.5 * (row[good][:, None] == row[~good]).mean()
             for row, good in zip(values, right, strict=True) if good.any() and not good.all()]  # fmt: skip
    return float(np.mean(areas))


def main(folders: list[str]) -> None:
    """Print one JSON line for each judge."""
    runs = [read(Path(folder)) for folder in folders]
    right = np.concatenate([rights for rights, _ in runs])
    judges = {name: np.concatenate([values[name] for _, values in runs]) for name in runs[0][1]}
    counts = [count for count in (1, 2, 4, 8, 16, 21) if count <= right.shape[1]]
    by_yes = chosen(judges["self"], right, counts[-1])
    for name, values in judges.items():
        slope, intercept = fit(values.ravel(), right.ravel())
        probability = 1 / (1 + np.exp(-(slope * np.maximum(values, LEAST) + intercept)))
        difference = chosen(values, right, counts[-1]).astype(float) - by_yes
        print(json.dumps({
            "judge": name, "prompts": len(right), "slope": round(slope, 4), "intercept": round(intercept, 3),
            "right": {count: round(float(chosen(values, right, count).mean()), 3) for count in counts},
            "auc": round(area_within_prompts(values, right), 3),
            "against_self": [round(float(difference.mean()), 3),
                             round(float(difference.std(ddof=1) / len(right) ** 0.5), 3)],
            "right_by_probability": {f"{low:.1f}": [round(float(right[inside].mean()), 2), int(inside.sum())]
                                     for low in np.arange(0, 1, 0.1)
                                     if (inside := (probability >= low) & (probability < low + 0.1)).any()},
        }))  # fmt: skip
    print(json.dumps({"oracle": {count: round(float(right[:, :count].any(1).mean()), 3) for count in counts}}))


if __name__ == "__main__":
    main(sys.argv[1:])
