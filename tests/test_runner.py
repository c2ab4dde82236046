"""The runner: several jobs at once, and nothing finished is ever lost."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest

from milr.runs.events import (
    Event,
    RunFinished,
    RunStarted,
    SearchFailed,
    SearchFinished,
    SearchFound,
    SearchStarted,
)
from milr.runs.runner import MAX_UNJUDGED, Job, Tally, jobs_of, run
from milr.runs.store import RunStore, name_of
from milr.types import JudgeError, Outcome, Prompt
from outcomes import config, outcome

PROMPTS = [Prompt(f"prompt {number}") for number in range(6)]


@pytest.fixture
def store(tmp_path: Path):
    with RunStore(tmp_path / "run").open(config()) as opened:
        yield opened


async def search_one(prompt: Prompt, sample: int) -> Outcome:
    await asyncio.sleep(0)
    return outcome(prompt, sample=sample)


async def unjudged(prompt: Prompt, sample: int) -> Outcome:
    return outcome(prompt, (None,), sample, stop="judge_failed")


def texts(store: RunStore) -> set[str]:
    return {record.prompt.text for record in store.records()}


def test_every_job_is_run_and_reported(store):
    events = []
    tally = asyncio.run(run(jobs_of(PROMPTS, 2), store=store, search_one=search_one, in_flight=3,
                            listener=events.append))  # fmt: skip
    assert tally == Tally(total=12, existing=0, new=12)
    assert len(store.records()) == 12
    assert Counter(map(type, events)) == {RunStarted: 1, SearchStarted: 12, SearchFinished: 12, RunFinished: 1}
    assert events[0] == RunStarted(config(), 12, store.folder) and events[-1] == RunFinished(12, 12, store.folder)
    finished = [event for event in events if isinstance(event, SearchFinished)]
    assert [event.done for event in finished] == list(range(1, 13)) and {event.total for event in finished} == {12}
    assert {event.outcome.prompt.text for event in finished} == {prompt.text for prompt in PROMPTS}


def test_samples_of_a_prompt_come_after_all_prompts():
    assert jobs_of(PROMPTS[:2], 2) == [Job(PROMPTS[0], 0), Job(PROMPTS[1], 0), Job(PROMPTS[0], 1), Job(PROMPTS[1], 1)]


@pytest.mark.parametrize("in_flight", [1, 2, 4])
def test_in_flight_is_reached_and_not_exceeded(store, in_flight):
    flying, most = 0, 0

    async def counted(prompt: Prompt, sample: int) -> Outcome:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0.01)
        flying -= 1
        return outcome(prompt, sample=sample)

    asyncio.run(run(jobs_of(PROMPTS), store=store, search_one=counted, in_flight=in_flight))
    assert most == in_flight


def test_what_is_known_to_be_finished_is_not_read(store):
    known = {name_of(prompt, 0) for prompt in PROMPTS[:4]}
    tally = asyncio.run(run(jobs_of(PROMPTS), store=store, search_one=search_one, finished=known))
    assert tally == Tally(total=6, existing=4, new=2) and texts(store) == {prompt.text for prompt in PROMPTS[4:]}


def test_resuming_skips_what_is_finished(store):
    asyncio.run(run(jobs_of(PROMPTS[:4]), store=store, search_one=search_one))
    asked, events = [], []

    async def noted(prompt: Prompt, sample: int) -> Outcome:
        asked.append(prompt)
        return outcome(prompt, sample=sample)

    tally = asyncio.run(run(jobs_of(PROMPTS), store=store, search_one=noted, listener=events.append))
    assert sorted(prompt.text for prompt in asked) == ["prompt 4", "prompt 5"]
    assert tally == Tally(total=6, existing=4, new=2)
    assert Counter(map(type, events[1:-1])) == {SearchFound: 4, SearchStarted: 2, SearchFinished: 2}


def test_a_prompt_given_twice_is_searched_once(store):
    tally = asyncio.run(run(jobs_of([PROMPTS[0], PROMPTS[0]]), store=store, search_one=search_one))
    assert tally == Tally(total=1, existing=0, new=1)


def test_a_failing_job_does_not_lose_those_in_flight_and_starts_no_more(store):
    asked, events = [], []

    async def failing(prompt: Prompt, sample: int) -> Outcome:
        asked.append(prompt.text)
        await asyncio.sleep(0)
        if prompt is PROMPTS[1]:
            raise JudgeError("the judge is gone")
        await asyncio.sleep(0.02)
        return outcome(prompt, sample=sample)

    with pytest.raises(JudgeError, match="the judge is gone"):
        asyncio.run(run(jobs_of(PROMPTS), store=store, search_one=failing, in_flight=3, listener=events.append))
    assert asked == ["prompt 0", "prompt 1", "prompt 2"]
    assert texts(store) == {"prompt 0", "prompt 2"}
    (failed,) = [event for event in events if isinstance(event, SearchFailed)]
    assert failed.prompt is PROMPTS[1] and isinstance(failed.error, JudgeError)
    assert events[-1] == RunFinished(2, 6, store.folder)
    assert asyncio.run(run(jobs_of(PROMPTS), store=store, search_one=search_one)).new == 4


def test_of_several_failures_the_first_is_raised_and_counts_the_others(store):
    async def failing(prompt: Prompt, sample: int) -> Outcome:
        await asyncio.sleep(0.01 * int(prompt.text[-1]))
        raise JudgeError(prompt.text)

    with pytest.raises(JudgeError, match="prompt 0") as failure:
        asyncio.run(run(jobs_of(PROMPTS), store=store, search_one=failing, in_flight=3))
    assert failure.value.__notes__ == ["2 more samples in flight failed after this one."]


def test_a_search_that_cancels_itself_is_a_failure_and_not_silence(store):
    async def gives_up(prompt: Prompt, sample: int) -> Outcome:
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="cancelled from within"):
        asyncio.run(run(jobs_of(PROMPTS), store=store, search_one=gives_up))


def test_cancelling_keeps_the_finished_and_drops_the_rest(store):
    async def slow_after_two(prompt: Prompt, sample: int) -> Outcome:
        if prompt not in PROMPTS[:2]:
            await asyncio.sleep(60)
        return outcome(prompt, sample=sample)

    ends: list[RunFinished] = []

    async def main() -> None:
        enough = asyncio.Event()

        def listen(event: Event) -> None:
            if isinstance(event, SearchFinished) and event.done == 2:
                enough.set()
            elif isinstance(event, RunFinished):
                ends.append(event)

        running = asyncio.create_task(run(jobs_of(PROMPTS), store=store, search_one=slow_after_two, in_flight=2,
                                          listener=listen))  # fmt: skip
        await enough.wait()
        running.cancel()
        await running

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert texts(store) == {"prompt 0", "prompt 1"} and ends == [RunFinished(2, 6, store.folder)]


def test_cancelling_waits_for_a_record_that_is_being_written(store):
    write, loop_seen = store.write, asyncio.Event()

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def slow_write(finished: Outcome) -> None:
            loop.call_soon_threadsafe(loop_seen.set)
            time.sleep(0.1)
            write(finished)

        store.write = slow_write
        running = asyncio.create_task(run(jobs_of(PROMPTS[:1]), store=store, search_one=search_one))
        await loop_seen.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert store.finished(PROMPTS[0], 0), "the run ended before its record was whole"

    asyncio.run(main())


def test_ctrl_c_inside_a_search_comes_through_and_keeps_the_finished(store):
    async def interrupted(prompt: Prompt, sample: int) -> Outcome:
        if prompt is PROMPTS[2]:
            raise KeyboardInterrupt
        return outcome(prompt, sample=sample)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(run(jobs_of(PROMPTS), store=store, search_one=interrupted, in_flight=1))
    assert texts(store) == {"prompt 0", "prompt 1"}


def test_a_full_disk_is_a_failure_of_the_job(store, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("milr.runs.files.os.replace", full)
    with pytest.raises(Exception, match="No space left on device"):
        asyncio.run(run(jobs_of(PROMPTS), store=store, search_one=search_one))


def test_a_judge_that_is_dead_ends_the_run_and_all_is_made_again_by_the_next(store):
    prompts = [Prompt(f"prompt {number}") for number in range(20)]
    with pytest.raises(
        JudgeError, match=f"{MAX_UNJUDGED} samples in a row could not be judged .no shape found.: mend that"
    ):
        asyncio.run(run(jobs_of(prompts), store=store, search_one=unjudged, in_flight=2))
    assert MAX_UNJUDGED <= len(store.records()) <= MAX_UNJUDGED + 1, "what was in flight is kept"
    tally = asyncio.run(run(jobs_of(prompts), store=store, search_one=search_one))
    assert tally == Tally(20, 0, 20)


def test_a_judge_that_fails_now_and_then_ends_nothing(store):
    async def often(prompt: Prompt, sample: int) -> Outcome:
        return await (search_one if prompt.text.endswith("7") else unjudged)(prompt, sample)

    prompts = [Prompt(f"prompt {number}") for number in range(5, 25)]  # 7 and 17 are judged
    with pytest.raises(JudgeError):
        asyncio.run(run(jobs_of(prompts[3:12]), store=store, search_one=often, in_flight=1))  # 8 to 16
    assert asyncio.run(run(jobs_of(prompts[:10]), store=store, search_one=often, in_flight=1)).total == 10  # 5 to 14


def test_what_fails_for_good_comes_last_and_holds_up_nothing(store):
    prompts = [Prompt(f"prompt {number}") for number in range(20)]
    lasting = {f"prompt {number}" for number in range(9)}  # more than MAX_UNJUDGED
    asked: list[str] = []

    async def judged_or_not(prompt: Prompt, sample: int) -> Outcome:
        asked.append(prompt.text)
        return await (unjudged if prompt.text in lasting else search_one)(prompt, sample)

    jobs = [*jobs_of(prompts[9:15]), *jobs_of(prompts[:7])]
    asyncio.run(run(jobs, store=store, search_one=judged_or_not, in_flight=1))  # seven in a row fail: not MAX_UNJUDGED
    asked.clear()
    asyncio.run(run([*jobs_of(prompts[:9]), *jobs_of(prompts[9:])], store=store, search_one=judged_or_not, in_flight=1))
    assert asked[:2] == ["prompt 7", "prompt 8"] and set(asked[2:7]) == {f"prompt {n}" for n in range(15, 20)}
    assert asked[7:] == [f"prompt {number}" for number in range(7)], "those that had failed, after all new ones"
    asked.clear()
    tally = asyncio.run(run(jobs_of(prompts), store=store, search_one=judged_or_not, in_flight=1))
    assert len(asked) == 9 and tally.total == 20, "they are asked again each time, and end nothing"
