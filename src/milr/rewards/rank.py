"""The reward `rank:a,b,c`: several judges choose among the pictures of a search by the ranks that they give them.

A rank says which of several pictures is better and nothing about one alone. So the picture that a search returns has
the best mean rank over the judges (`rules/rank_ensemble.py`), and what a picture scores while the search runs is the
mean of the judges' scores, by which the search stops and which methods see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from milr.base import Reward
from milr.rewards.weighted import WeightedReward
from milr.rules.rank_ensemble import best_by_rank
from milr.types import Prompt, Score, UsageError

EXAMPLE = "rank:own,self"


class RankReward(WeightedReward):
    """The mean of the judges' scores, each a named part; among the pictures of a search the mean of their ranks."""

    def __init__(self, judges: Mapping[str, Reward]) -> None:
        super().__init__(judges, dict.fromkeys(judges, 1.0))
        self.name = "rank:" + ",".join(judges)
        calibrations = [getattr(judge, "calibration", ()) for judge in judges.values()]
        self.calibration = None if None in calibrations else ()  # as ChoiceReward asks

    def best_of(self, scores: Sequence[Score], prompt: Prompt) -> int | None:
        """The position of the picture with the best mean rank among those that are scored."""
        scored = [index for index, score in enumerate(scores) if score.value is not None]
        chosen = best_by_rank([[scores[index].parts.get(name) for name in self.judges] for index in scored])
        return None if chosen is None else scored[chosen]


def parse(argument: str) -> list[str]:
    """The judges [a, b, c] of "a,b,c"; UsageError for anything else."""
    names: list[str] = []
    for piece in argument.split(","):
        if names and _is_number(piece):  # of a name that has commas itself: noisy:0.1,0.2
            names[-1] += f",{piece}"
        else:
            names.append(piece)
    if len(names) < 2 or len(set(names)) < len(names) or not all(names) or any("=" in name for name in names):
        raise UsageError(f"'rank:{argument}' names no judges to rank by; name at least two, each once and none of them "
                         f"weighted, such as {EXAMPLE}.")  # fmt: skip
    return names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
