"""How far a judge's scores are from how often it is right: `python -m benchmarks.calibration RUN...`.

For runs that were searched by one judge and scored by another (`milr bench shapes --reward own ...`): by kind of prompt
the share of right pictures, the mean score and the calibration error, of the first pictures (drawn before the judge
had a say) and of the returned ones (the likeliest to flatter it). Intervals are bootstraps by prompt.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import numpy as np

from milr.report.compare.rows import Sample, ScoredPicture, load_rows
from milr.report.statistics import SEED

BINS = 10
RESAMPLES = 500
RIGHT = 0.5  # a picture whose report metric is above this is right


def calibration_error(scores: np.ndarray, right: np.ndarray) -> float:
    """The mean over pictures of |mean score - share of right pictures| of their bin; ten bins of equal width."""
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    differences = np.bincount(bins, scores, minlength=BINS) - np.bincount(bins, right, minlength=BINS)
    return float(np.abs(differences).sum() / counts.sum())


def first(sample: Sample) -> ScoredPicture:
    """The picture that was drawn before the judge said anything."""
    return sample.pictures[0]


def returned(sample: Sample) -> ScoredPicture:
    """The picture that the judge likes best."""
    return sample.pictures[sample.returned]


def line(title: str, samples: Sequence[Sample], pick: Callable[[Sample], ScoredPicture]) -> str:
    """One row of the table; pictures that either judge left unscored are left out."""
    pictures = [(sample.key.prompt, pick(sample)) for sample in samples]
    known = [(prompt, picture.search, picture.metric) for prompt, picture in pictures
             if picture.search is not None and picture.metric is not None]  # fmt: skip
    prompts = [prompt for prompt, _, _ in known]
    scores, right = np.array([score for _, score, _ in known]), np.array([metric > RIGHT for _, _, metric in known])
    rows_of = {prompt: np.array([row for row, other in enumerate(prompts) if other == prompt]) for prompt in prompts}
    groups, rng = list(rows_of.values()), np.random.default_rng(SEED)
    errors = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([groups[index] for index in rng.integers(0, len(groups), len(groups))])
        errors.append(calibration_error(scores[drawn], right[drawn]))
    low, high = np.quantile(errors, [0.025, 0.975])
    return (f"| {title} | {len(known)} | {right.mean():.3f} | {scores.mean():.3f} | "
            f"{calibration_error(scores, right):.3f} [{low:.3f}, {high:.3f}] |")  # fmt: skip


def main(folders: Sequence[str]) -> None:
    """Print a table for each row; runs that differ in their seed alone are one."""
    for row in load_rows(folders):
        print(f"\n{row.title}, seeds {', '.join(map(str, row.seeds))}\n")
        print("| pictures | number | right | mean score | calibration error |\n| --- | --- | --- | --- | --- |")
        for what, pick in (("first", first), ("returned", returned)):
            print(line(f"{what}, all kinds", row.samples, pick))
            for kind in sorted({sample.category for sample in row.samples}):
                print(line(f"{what}, {kind}", [sample for sample in row.samples if sample.category == kind], pick))


if __name__ == "__main__":
    main(sys.argv[1:])
