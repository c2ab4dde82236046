"""Numbers and reasons as the pages show them: scores as fractions, shares in percent."""

from __future__ import annotations

from milr.report.statistics import Interval
from milr.report.summary import Scores
from milr.types import Cost, StopReason

STOPS: dict[StopReason, str] = {
    "threshold": "a score above the threshold",
    "steps": "all steps were taken",
    "budget": "the budget was spent",
    "judge_failed": "the judge failed",
    "stopped": "somebody stopped it",
}


def number(value: float | None, digits: int = 2) -> str:
    """A score or another number; a missing score is "unscored"."""
    return "unscored" if value is None else f"{value:.{digits}f}"


def verdict(value: float) -> str:
    """A part of a score with a mark that says which way it points."""
    return f"{'✓' if value >= 0.5 else '✗'} {number(value)}"


def share(value: float | None, bounds: Interval | None = None) -> str:
    """A share in percent, with its 95 % interval in percent; a dash where there is no value."""
    if value is None:
        return "–"
    return f"{_percent(value)} [{_percent(bounds.low)}, {_percent(bounds.high)}]" if bounds else _percent(value)


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def interval(bounds: Interval | None) -> str:
    """A 95 % interval of a score in brackets; "" where there is none."""
    return "" if bounds is None else f"[{bounds.low:.2f}, {bounds.high:.2f}]"


def scores(summary: Scores) -> str:
    """Mean with interval; where pictures are unscored also how many were scored, and the bounds of the mean."""
    mean = f"{number(summary.mean)} {interval(summary.interval)}".strip()
    if summary.scored == summary.n:
        return mean
    bounds = f"{summary.lowest:.2f} to {summary.highest:.2f}"
    return f"{mean}, {summary.scored} scored of {summary.n}, bounds {bounds}"


def cost(spent: Cost) -> str:
    """A cost in words, counts before seconds."""
    return (
        f"{count(spent.pictures, 'picture')}, {spent.token_steps:,} token-steps, "
        f"{count(spent.reward_calls, 'reward call')}, "
        f"{spent.model_seconds:.1f} s model, {spent.reward_seconds:.1f} s reward"
    )


def count(n: int, noun: str) -> str:
    """A number with its noun in the right number, such as "1 picture" or "2,000 pictures"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
