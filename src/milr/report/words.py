"""Numbers, reasons and changes of text as a reader should meet them."""

from __future__ import annotations

import difflib
import re
from typing import Literal, NamedTuple

from milr.report.statistics import Interval
from milr.report.summary import Scores
from milr.types import Cost, StopReason

STOPS: dict[StopReason, str] = {
    "threshold": "a score above the threshold",
    "steps": "all steps were taken",
    "budget": "the budget was spent",
    "judge_failed": "the judge failed",
}


class Change(NamedTuple):
    """A stretch of words that is kept, inserted or deleted."""

    kind: Literal["same", "ins", "del"]
    text: str


def word_diff(old: str, new: str) -> list[Change]:
    """What became of the words of `old` in `new`; spaces belong to the word before them."""
    before, after = re.findall(r"\S+\s*", old), re.findall(r"\S+\s*", new)
    matcher = difflib.SequenceMatcher(None, [w.strip() for w in before], [w.strip() for w in after], autojunk=False)
    changes = []
    for kind, i, j, k, m in matcher.get_opcodes():
        if kind == "equal":
            changes.append(Change("same", "".join(after[k:m])))
            continue
        changes += [Change("del", "".join(before[i:j])), Change("ins", "".join(after[k:m]))]
    return [change for change in changes if change.text]


def number(value: float | None, digits: int = 2) -> str:
    """A score or another number; a missing one is unscored."""
    return "unscored" if value is None else f"{value:.{digits}f}"


def share(value: float | None) -> str:
    """A share in percent, or a dash where there is nothing to share."""
    return "–" if value is None else f"{100 * value:.0f} %"


def interval(found: Interval | None) -> str:
    """A 95 % interval in brackets; empty where none can be had."""
    return "" if found is None else f"[{found.low:.2f}, {found.high:.2f}]"


def scores(found: Scores) -> str:
    """Mean with interval, how many were scored, and the bounds when some were not."""
    words = f"{number(found.mean)} {interval(found.interval)}".strip()
    if found.scored == found.n:
        return words
    return f"{words}, {found.scored} scored of {found.n}, bounds {found.lowest:.2f} to {found.highest:.2f}"


def cost(spent: Cost) -> str:
    """What was spent, in counts first."""
    return (
        f"{_count(spent.pictures, 'picture')}, {spent.token_steps:,} token-steps, "
        f"{_count(spent.reward_calls, 'reward call')}, "
        f"{spent.model_seconds:.1f} s model, {spent.reward_seconds:.1f} s reward"
    )


def _count(n: int, thing: str) -> str:
    return f"{n:,} {thing}{'' if n == 1 else 's'}"
