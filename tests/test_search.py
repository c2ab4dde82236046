"""The run loop over scripted steps: when it stops, what is best, what is returned, and that the method is closed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from PIL import Image

from milr.base import Reward, UnifiedModel
from milr.engine.search import Budget, best_step, returnable, search
from milr.engine.studio import Studio
from milr.runs.events import Event, StepFinished
from milr.types import Cost, ImageTrace, Key, Outcome, Prompt, Rollout, Score, Step, UsageError

PROMPT, KEY = Prompt("a red star"), Key(3, "a red star", sample=2)
COST = Cost(pictures=1, token_steps=20, reward_calls=2, model_seconds=0.5, reward_seconds=0.25)


def step(index: int, value: float | None) -> Step:
    rollout = Rollout(None, ImageTrace((index,)), Image.new("RGB", (2, 2), (index, 0, 0)))
    return Step(index, rollout, Score.unscored("no word") if value is None else Score(value), cost=COST)


class Scripted:
    """A method of the given scores; knows what it was called with and whether it was closed."""

    def __init__(self, *values: float | None) -> None:
        self.values = values
        self.num_made = 0
        self.closed = False

    def __call__(self, studio: Any, prompt: Prompt, key: Key) -> AsyncIterator[Step]:
        self.called_with = (prompt, key)
        return self._steps()

    async def _steps(self) -> AsyncIterator[Step]:
        try:
            for index, value in enumerate(self.values):
                self.num_made += 1
                await asyncio.sleep(0)
                yield step(index, value)
        finally:
            await asyncio.sleep(0)
            self.closed = True


def run(method: Any, **settings: Any) -> Outcome:
    async def go() -> Outcome:
        studio = Studio(cast(UnifiedModel, None), cast(Reward, None))
        try:
            outcome = await search(studio, PROMPT, KEY, method, **({"threshold": 0.9} | settings))
            assert studio._num_methods == 0
            return outcome
        finally:
            studio.close()

    return asyncio.run(asyncio.wait_for(go(), 5))


@pytest.mark.parametrize(
    ("values", "settings", "count", "stop"),
    [
        ((0.5, 0.9, 0.91, 1.0), {}, 3, "threshold"),  # 0.9 is not above 0.9
        ((0.5, 0.9, 1.0), {"threshold": 1.0}, 3, "steps"),  # nothing is above 1
        ((0.0, 0.1, 1.0), {"threshold": 0.0}, 2, "threshold"),
        ((1.0, 1.0), {"threshold": None}, 2, "steps"),
        ((0.5,) * 5, {"budget": Budget(pictures=3)}, 3, "budget"),
        ((0.5,) * 5, {"budget": Budget(token_steps=60)}, 3, "budget"),
        ((0.5,) * 5, {"budget": Budget(token_steps=61)}, 4, "budget"),
        ((0.5,) * 5, {"budget": Budget(reward_calls=3)}, 2, "budget"),
        ((0.5,) * 5, {"budget": Budget(seconds=0.0)}, 1, "budget"),
        ((0.5,) * 5, {"budget": Budget(pictures=5)}, 5, "budget"),
        ((0.5,) * 5, {"budget": Budget(pictures=6, seconds=3600.0)}, 5, "steps"),
        ((0.5, 1.0), {"budget": Budget(pictures=2)}, 2, "threshold"),  # not "budget": the picture is good
        ((None,) * 5, {}, 3, "judge_failed"),
        ((0.5, None, None, 0.5, None, None, None, 0.5), {}, 7, "judge_failed"),
        ((None, None, 1.0), {}, 3, "threshold"),
        ((None, None), {}, 2, "judge_failed"),  # nothing was ever judged
        ((0.5, None), {}, 2, "steps"),
        ((None,) * 5, {"budget": Budget(pictures=2)}, 2, "judge_failed"),  # an unscored picture is charged
    ],
)
def test_when_a_search_stops(values: tuple[Any, ...], settings: dict[str, Any], count: int, stop: str) -> None:
    method = Scripted(*values)
    outcome = run(method, **settings)
    assert (len(outcome.steps), outcome.stop) == (count, stop)
    assert method.num_made == count  # and no further picture was begun
    assert method.closed


@pytest.mark.parametrize(
    ("values", "best"),
    [((0.5, 0.7, 0.7, 0.6), 1), ((0.0, None), 0), ((None, 0.0), 1), ((None, None), None), ((0.3, None, 0.2), 0)],
)
def test_the_best_is_the_first_highest_and_never_unscored(values: tuple[Any, ...], best: int | None) -> None:
    assert best_step([step(index, value) for index, value in enumerate(values)]) == best
    outcome = run(Scripted(*values))
    assert outcome.best == best
    assert outcome.returned == (len(values) - 1 if best is None else best)
    assert outcome.picture is outcome.steps[outcome.returned].rollout.picture


@pytest.mark.parametrize(
    ("values", "indices"),
    [((0.5, 0.5, 0.7, 0.6, 0.9), [0, 2, 4]), ((None, None, 0.0, None, 0.1), [0, 1, 2, 4]), ((1.0, 0.5), [0])],
)
def test_what_a_smaller_budget_would_have_returned(values: tuple[Any, ...], indices: list[int]) -> None:
    outcome = run(Scripted(*values), threshold=None)
    assert returnable(outcome) == indices
    by_budget = [run(Scripted(*values), threshold=None, budget=Budget(pictures=n)) for n in range(1, len(values) + 1)]
    unscored = [len(one.steps) - 1 for one in by_budget if one.best is None]
    assert {one.best for one in by_budget if one.best is not None} | set(unscored) == set(indices)
    assert returnable(outcome, "last") == list(range(len(values)))


def test_the_last_is_returned_where_asked_and_the_best_is_still_known() -> None:
    outcome = run(Scripted(0.5, 0.7, 0.6), returns="last")
    assert (outcome.best, outcome.returned) == (1, 2)
    assert outcome.score.value == 0.6 and outcome.first_score.value == 0.5


def test_costs_add_up_and_the_outcome_says_whose_it_is() -> None:
    method = Scripted(0.5, None, 0.6)
    outcome = run(method)
    assert outcome.cost == Cost(3, 60, 6, 1.5, 0.75)
    assert (outcome.prompt, outcome.key) == (PROMPT, KEY) == method.called_with
    assert [step.index for step in outcome.steps] == [0, 1, 2]
    assert not outcome.judged


def test_a_step_is_told_before_the_next_is_made_with_the_ledger_so_far() -> None:
    method = Scripted(0.5, 0.6, 0.7)
    calls: list[tuple[Prompt, Key, int, int, int]] = []

    def listen(event: Event) -> None:
        assert isinstance(event, StepFinished)
        calls.append((event.prompt, event.key, event.step.index, event.cost.pictures, method.num_made))

    run(method, listener=listen)
    assert calls == [(PROMPT, KEY, index, index + 1, index + 1) for index in range(3)]


def stop_listening(*_: Any) -> None:
    raise UsageError("the page is gone")


def test_the_method_is_closed_when_a_listener_raises() -> None:
    method = Scripted(0.5, 0.6)

    async def go() -> None:
        studio = Studio(cast(UnifiedModel, None), cast(Reward, None))
        with pytest.raises(UsageError):
            await search(studio, PROMPT, KEY, method, threshold=None, listener=stop_listening)
        assert method.closed and studio._num_methods == 0  # at once, not when the garbage is collected
        studio.close()

    asyncio.run(asyncio.wait_for(go(), 5))


def test_an_error_of_the_method_is_raised_and_the_studio_unregisters_it() -> None:
    async def broken(studio: Studio, prompt: Prompt, key: Key) -> AsyncIterator[Step]:
        yield step(0, 0.5)
        raise ZeroDivisionError("mine")

    async def go() -> None:
        studio = Studio(cast(UnifiedModel, None), cast(Reward, None))
        with pytest.raises(ZeroDivisionError):
            await search(studio, PROMPT, KEY, cast(Any, broken), threshold=None)
        assert studio._num_methods == 0
        studio.close()

    asyncio.run(asyncio.wait_for(go(), 5))


def test_a_cancelled_search_closes_its_method() -> None:
    closed: list[bool] = []

    async def waits(studio: Studio, prompt: Prompt, key: Key) -> AsyncIterator[Step]:
        try:
            yield step(0, 0.5)
            await asyncio.sleep(3600)
        finally:
            closed.append(True)

    async def go() -> None:
        studio = Studio(cast(UnifiedModel, None), cast(Reward, None))
        task = asyncio.create_task(search(studio, PROMPT, KEY, cast(Any, waits), threshold=None))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() and closed == [True] and studio._num_methods == 0
        studio.close()

    asyncio.run(asyncio.wait_for(go(), 5))


@pytest.mark.parametrize("limit", [None, 0, 1, 2])
def test_a_budget_is_spent_when_it_is_reached(limit: int | None) -> None:
    assert Budget(pictures=limit).spent(COST, 0.0) == (limit is not None and limit <= 1)
    assert not Budget().spent(Cost(10**9, 10**9, 10**9), 1e9)


def test_updates_and_rendering_count_as_the_models_time_of_their_own_step() -> None:
    """Two methods share the studio: one computes 0.05 s before its second step, the other nothing."""

    async def method(studio: Any, prompt: Prompt, key: Key) -> AsyncIterator[Step]:
        yield step(0, 0.1)
        if key.sample == 2:
            await studio.compute(lambda: time.sleep(0.05))
        yield step(1, 0.2)

    async def go() -> list[Outcome]:
        studio = Studio(cast(UnifiedModel, None), cast(Reward, None))
        keys = (KEY, Key(3, "a red star", sample=5))
        try:
            return list(
                await asyncio.gather(
                    *(asyncio.ensure_future(search(studio, PROMPT, key, method, threshold=None)) for key in keys)
                )
            )
        finally:
            studio.close()

    busy, idle = asyncio.run(asyncio.wait_for(go(), 5))
    seconds = [one.cost.model_seconds for one in busy.steps]
    assert seconds[0] == COST.model_seconds and seconds[1] >= COST.model_seconds + 0.05
    assert busy.cost.model_seconds == pytest.approx(sum(seconds))
    assert [one.cost for one in idle.steps] == [COST, COST]
