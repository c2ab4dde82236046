"""The run loop, once for all methods: takes steps, keeps the best, stops at the threshold or the budget, says why."""

from __future__ import annotations

import time
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal

from milr.base import Method
from milr.engine.studio import Studio
from milr.runs.events import Listener, Listeners, StepFinished, StopSearch
from milr.types import Cost, Key, Outcome, Prompt, Step, StopReason

MAX_UNSCORED = 3  # pictures in a row, after which the search stops as `judge_failed`


@dataclass(frozen=True)
class Budget:
    """Limits in counts (None: none). `seconds` is wall-clock, for interactive use: it cannot be reproduced."""

    pictures: int | None = None
    token_steps: int | None = None
    reward_calls: int | None = None
    seconds: float | None = None

    def spent(self, cost: Cost, seconds: float) -> bool:
        """Whether any limit is reached."""
        limits = ((self.pictures, cost.pictures), (self.token_steps, cost.token_steps),
                  (self.reward_calls, cost.reward_calls), (self.seconds, seconds))  # fmt: skip
        return any(limit is not None and spent >= limit for limit, spent in limits)


async def search(studio: Studio, prompt: Prompt, key: Key, method: Method, *, threshold: float | None,
                 budget: Budget = Budget(), returns: Literal["best", "last"] = "best",
                 listener: Listener = Listeners()) -> Outcome:  # fmt: skip
    """Run a method until a score is above `threshold` (strictly; None: never), the budget is spent, or it ends.

    The listener is told of each step; where it raises StopSearch, the search ends as `stopped`.
    """
    start = time.monotonic()
    steps: list[Step] = []
    stop: StopReason = "steps"
    cost = Cost()
    compare = getattr(studio.reward, "best_of", None)
    async with studio.method() as meter, aclosing(method(studio, prompt, key)) as iterator:  # type: ignore[type-var]
        async for step in iterator:
            step = replace(step, cost=step.cost + Cost(model_seconds=meter.take()))
            steps.append(step)
            if compare:
                steps[-1] = step = replace(step, chosen=compare([step.score for step in steps], prompt))
            cost += step.cost
            try:
                listener(StepFinished(prompt, key, step, cost))
            except StopSearch:
                stop = "stopped"
                break
            reason = _reason_to_stop(steps, threshold, budget.spent(cost, time.monotonic() - start))
            if reason:
                stop = reason
                break
    best = steps[-1].chosen if compare and steps else best_step(steps)
    if best is None:
        stop = "judge_failed"
    returned = len(steps) - 1 if returns == "last" or best is None else best
    return Outcome(prompt, key, tuple(steps), best, returned, stop, cost)


def best_step(steps: list[Step]) -> int | None:
    """Index of the first highest score; None when nothing was scored."""
    scored = [(step.score.value, -index) for index, step in enumerate(steps) if step.score.value is not None]
    return -max(scored)[1] if scored else None


def returnable(outcome: Outcome, returns: Literal["best", "last"] = "best") -> list[int]:
    """Indices of the steps whose pictures the same search would have returned with a smaller budget."""
    values = [step.score.value for step in outcome.steps]
    if returns == "last":
        return list(range(len(values)))
    if any(step.chosen is not None for step in outcome.steps):
        return sorted({index if step.chosen is None else step.chosen for index, step in enumerate(outcome.steps)})
    best_before = [max((value for value in values[:index] if value is not None), default=None)
                   for index in range(len(values))]  # fmt: skip
    return [index for index, (value, best) in enumerate(zip(values, best_before, strict=True))
            if best is None or (value is not None and value > best)]  # fmt: skip


def _reason_to_stop(steps: list[Step], threshold: float | None, spent: bool) -> StopReason | None:
    value = steps[-1].score.value
    if threshold is not None and value is not None and value > threshold:
        return "threshold"
    if len(steps) >= MAX_UNSCORED and all(step.score.value is None for step in steps[-MAX_UNSCORED:]):
        return "judge_failed"
    return "budget" if spent else None
