"""One protocol for whoever listens to a run: all hear the same, in order, and none can break it."""

from __future__ import annotations

import asyncio
import warnings
from pathlib import Path
from typing import Any

import pytest

import milr
from milr.runs.events import (
    Event,
    Listeners,
    RunFinished,
    RunStarted,
    SearchFailed,
    SearchFinished,
    StepFinished,
    StopSearch,
)
from milr.runs.store import RunStore
from milr.types import Cost, MilrWarning, Step, UsageError
from milr.workflows.session import Session
from outcomes import outcome
from scripted import Brightness

SETTINGS: dict[str, Any] = {
    "reward": Brightness(), "steps": 2, "image_ratio": 0.2, "learning_rate": 0.3, "guidance_scale": 2.0,
    "threshold": 1.0, "device": "cpu", "reasoning_prompt": "plan the picture : {prompt}",
}  # fmt: skip
ENDED = RunFinished(1, 1, None)


@pytest.fixture
def session(tiny_folder: Path) -> Any:
    with milr.load(tiny_folder, **SETTINGS) as one:
        yield one


def names(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def broken(event: Event) -> None:
    raise ZeroDivisionError("by\nzero")


def test_all_hear_the_same_and_one_that_raises_is_told_of_once() -> None:
    first, last, told = list[Event](), list[Event](), list[str]()
    listeners = Listeners(first.append, broken, last.append, on_failure=told.append)
    for _ in range(3):
        listeners(ENDED)
    assert first == last == [ENDED] * 3
    assert told == listeners.failures == ["the listener broken failed (ZeroDivisionError: by zero) and hears no more; "
                                          "the run goes on without it."]  # fmt: skip


def test_a_failure_is_logged_where_nobody_else_is_told(caplog: pytest.LogCaptureFixture) -> None:
    Listeners(broken)(ENDED)
    assert [record.levelname for record in caplog.records] == ["WARNING"] and "broken failed" in caplog.text


def step_finished() -> StepFinished:
    made = outcome()
    return StepFinished(made.prompt, made.key, made.steps[0], Cost(pictures=1))


def test_a_search_is_stopped_only_at_a_step_and_after_all_have_heard() -> None:
    def stop(event: Event) -> None:
        raise StopSearch

    heard: list[Event] = []
    listeners = Listeners(stop, heard.append)
    listeners(ENDED)
    with pytest.raises(StopSearch):
        listeners(step_finished())
    assert len(heard) == 2 and not listeners.failures


def test_what_ends_a_program_is_not_held_back() -> None:
    def leave(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Listeners(leave)(ENDED)


def test_a_run_in_memory_tells_everything_in_order(session: Session) -> None:
    events: list[Event] = []
    found = session.generate("a star", samples=2, listener=events.append, in_flight=1)
    search = ["SearchStarted", *["StepFinished"] * 3, "SearchFinished"]
    assert names(events) == ["RunStarted", *search, *search, "RunFinished"]
    started, steps = events[0], [event for event in events if isinstance(event, StepFinished)]
    assert isinstance(started, RunStarted) and (started.total, started.folder) == (2, None)
    assert started.config.reward == "brightness" and events[-1] == RunFinished(2, 2, None)
    assert [event.cost.pictures for event in steps] == [1, 2, 3] * 2
    assert [event.step.score.value for event in steps] == [
        step.score.value for outcome in found for step in outcome.steps
    ]
    assert [event.outcome for event in events if isinstance(event, SearchFinished)] == list(found)


def test_the_session_and_several_listeners_of_a_call_hear_of_it(tiny_folder: Path) -> None:
    of_session, first, second = list[Event](), list[Event](), list[Event]()
    with milr.load(tiny_folder, listener=of_session.append, **SETTINGS) as session:
        session.generate("a star", listener=[first.append, second.append])
        assert names(of_session) == names(first) == names(second)
        session.generate("a red star")
    assert len(of_session) == 2 * len(first)


def test_a_broken_listener_changes_no_record_and_is_one_warning(session: Session, tmp_path: Path) -> None:
    session.generate(["a star", "a red star"], out=tmp_path / "alone")
    events: list[Event] = []
    with pytest.warns(MilrWarning) as told:
        session.generate(["a star", "a red star"], out=tmp_path / "heard", listener=[broken, events.append])
    assert len(told) == 1 and "broken failed" in str(told[0].message)
    assert names(events)[0] == "RunStarted" and events[-1] == RunFinished(2, 2, tmp_path / "heard")

    def kept(folder: str) -> list[Any]:
        return [[(step.score, step.image_ids) for step in record.steps]
                for record in RunStore(tmp_path / folder).records()]  # fmt: skip

    assert kept("alone") == kept("heard")


def test_a_listener_of_a_stream_that_fails_is_a_warning_at_its_end(session: Session) -> None:
    async def watch() -> list[Step]:
        return [step async for step in session.stream("a star", listener=broken)]

    with pytest.warns(MilrWarning, match="broken failed"):
        assert len(asyncio.run(watch())) == 3


def test_stop_search_keeps_the_best_so_far(session: Session) -> None:
    def after_two(event: Event) -> None:
        if isinstance(event, StepFinished) and event.step.index == 1:
            raise StopSearch

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = session.generate("a star", listener=after_two)
    assert found.stop == "stopped" and len(found.steps) == 2


def test_a_failed_search_is_told_and_the_run_is_not_whole(session: Session) -> None:
    class Judge(Brightness):
        async def score(self, pictures: Any, prompts: Any, services: Any) -> Any:
            raise UsageError("no judge")

    events: list[Event] = []
    with pytest.raises(UsageError, match="no judge"):
        session.generate("a star", reward=Judge(), listener=events.append)
    assert names(events) == ["RunStarted", "SearchStarted", "SearchFailed", "RunFinished"]
    failed, ended = events[2:]
    assert isinstance(failed, SearchFailed) and "no judge" in str(failed.error) and ended == RunFinished(0, 1, None)
