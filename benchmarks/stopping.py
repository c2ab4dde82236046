"""What runs that never stopped would have returned, had they been allowed fewer pictures or stopped above a threshold.

`python -m benchmarks.stopping RUN...` prints for each run (`milr bench ... --no-stop`, searched by one judge and scored
by another) the score after so many pictures, and for each threshold the score and the mean number of pictures. A score
is the mean over the kinds of prompt. Nothing is drawn or judged: the report metric has scored every picture that was
the best so far.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from milr.report.compare.rows import Sample, load_rows
from milr.report.statistics import mean_of

BUDGETS = (1, 2, 4, 6, 8, 10, 12, 16, 21)
THRESHOLDS = (0.5, 0.7, 0.9, 0.95, 0.98)


def score_after(samples: Sequence[Sample], budgets: Sequence[int]) -> float:
    """The score where each sample is allowed its own number of pictures; ValueError where a picture was not judged."""
    values = []
    for sample, budget in zip(samples, budgets, strict=True):
        pictures = sample.pictures[:budget]
        best = max(pictures, key=lambda picture: -1.0 if picture.search is None else picture.search)
        if best.metric is None:
            raise ValueError(f"the report metric has not scored the best of {budget} pictures of {sample.key.prompt!r}")
        values.append(best.metric)
    return mean_of([sample.category for sample in samples], values)


def stopped_after(sample: Sample, threshold: float, most: int) -> int:
    """After how many pictures the search would have stopped: the first above the threshold, else `most`."""
    passes = (number for number, picture in enumerate(sample.pictures[:most], 1) if (picture.search or 0) > threshold)
    return next(passes, min(most, len(sample.pictures)))


def main(folders: Sequence[str]) -> None:
    """Print both tables of each row; runs that differ in their seed alone are one."""
    for row in load_rows(folders):
        samples = list(row.samples)
        most = min(len(sample.pictures) for sample in samples)
        print(f"{row.title}: {len(samples)} samples, seeds {', '.join(map(str, row.seeds))}")
        for budget in (budget for budget in BUDGETS if budget <= most):
            print(f"  after {budget:2} pictures {score_after(samples, [budget] * len(samples)):.3f}")
        for threshold in THRESHOLDS:
            numbers = [stopped_after(sample, threshold, most) for sample in samples]
            mean = sum(numbers) / len(numbers)
            print(f"  above {threshold:.2f} {score_after(samples, numbers):.3f} with {mean:.1f} pictures")


if __name__ == "__main__":
    main(sys.argv[1:])
