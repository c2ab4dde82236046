"""Several judges choose one of several pictures by the ranks that they give them, whatever their scores mean; pure."""

from __future__ import annotations

from collections.abc import Sequence

from scipy.stats import rankdata

Scores = Sequence[float | None]  # of one picture, by each judge; None: unscored


def mean_ranks(pictures: Sequence[Scores]) -> list[float]:
    """The mean over the judges of each picture's rank, 1 for the highest score.

    Equal scores share the mean of their ranks. A picture that a judge did not score is behind all that it scored.
    """
    columns = [[float("-inf") if score is None else score for score in scores]
               for scores in zip(*pictures, strict=True)]  # fmt: skip
    ranks = [rankdata([-score for score in column]) for column in columns]
    return [float(sum(of_picture) / len(columns)) for of_picture in zip(*ranks, strict=True)]


def best_by_rank(pictures: Sequence[Scores]) -> int | None:
    """The index of the picture with the lowest mean rank; None where no judge scored any.

    Of pictures with equal ranks it is the one that the first judge likes best, of these the earliest.
    """
    if all(score is None for scores in pictures for score in scores):
        return None
    ranks = mean_ranks(pictures)
    first = [-1.0 if scores[0] is None else scores[0] for scores in pictures]
    return min(range(len(pictures)), key=lambda index: (ranks[index], -first[index], index))
