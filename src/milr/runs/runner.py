"""Works off a run's jobs, several at once. What is finished is written at once and never lost.

When one job fails, or a judge has given up on DEAD new jobs in a row, no new ones start, those in flight finish and are
written, and the failure is raised. A sample that no judge could judge is made again by the next run, after all new
ones. When the run is cancelled, those in flight are dropped (the same command resumes) and a record being written is
still written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from milr.runs.store import RunStore, name_of
from milr.types import JudgeError, Outcome, Prompt

DEAD = 8
SearchOne = Callable[[Prompt, int], Awaitable[Outcome]]


@dataclass(frozen=True)
class Job:
    """One sample of one prompt."""

    prompt: Prompt
    sample: int = 0


@dataclass(frozen=True)
class Event:
    """News of one job. `done` of `total` samples are on disk, those found there at the start included."""

    kind: Literal["found", "started", "finished", "failed"]
    job: Job
    done: int
    total: int
    outcome: Outcome | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class Tally:
    """How many samples the run has, how many were found finished, and how many were made now."""

    total: int
    found: int
    made: int


OnEvent = Callable[[Event], None]


def jobs_of(prompts: Iterable[Prompt], samples: int = 1) -> list[Job]:
    """The first sample of every prompt, then the second of every prompt: an interrupted run covers all prompts."""
    prompts = list(prompts)
    return [Job(prompt, sample) for sample in range(samples) for prompt in prompts]


async def run(jobs: Iterable[Job], *, store: RunStore, search_one: SearchOne, in_flight: int = 8,
              on_event: OnEvent | None = None) -> Tally:  # fmt: skip
    """Search for every job without a record, at most `in_flight` at once, and write each outcome when it is there."""
    todo = list({name_of(job.prompt, job.sample): job for job in jobs}.values())
    shift = _Shift(store, search_one, on_event or (lambda event: None), len(todo))
    left = [job for job in todo if not shift.found_already(job)]
    shift.again = {name_of(job.prompt, job.sample) for job in left if store.record(job.prompt, job.sample)}
    waiting = iter(sorted(left, key=lambda job: name_of(job.prompt, job.sample) in shift.again))
    found = shift.done
    async with asyncio.TaskGroup() as group:
        for _ in range(max(1, in_flight)):
            group.create_task(shift.work(waiting))
    if shift.failures:
        raise _first_of(shift.failures)
    return Tally(shift.total, found, shift.done - found)


@dataclass
class _Shift:
    """What the workers of one run share."""

    store: RunStore
    search_one: SearchOne
    on_event: OnEvent
    total: int
    done: int = 0
    failures: list[Exception] = field(default_factory=list)
    unjudged: int = 0
    again: set[str] = field(default_factory=set)

    def found_already(self, job: Job) -> bool:
        """Whether the job is on disk; counts and tells it."""
        found = self.store.finished(job.prompt, job.sample)
        if found:
            self.done += 1
            self._tell("found", job)
        return found

    async def work(self, waiting: Iterator[Job]) -> None:
        """One worker: takes jobs until none is left or any worker's job has failed."""
        while not self.failures and (job := next(waiting, None)) is not None:
            try:
                self._tell("started", job)
                await self._finish(job, await self._search(job))
            except Exception as error:
                self.failures.append(error)
                self._tell("failed", job, error=error)

    async def _search(self, job: Job) -> Outcome:
        """The job's outcome. A search that gives up by cancelling itself has failed; it must not look finished."""
        try:
            return await self.search_one(job.prompt, job.sample)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise RuntimeError(f"the search for '{job.prompt.text}' was cancelled from within") from None

    async def _finish(self, job: Job, outcome: Outcome) -> None:
        """Write on another thread; a cancel waits until the record is whole."""
        writing = asyncio.ensure_future(asyncio.to_thread(self.store.write, outcome))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])
            raise
        self.done += 1
        self._tell("finished", job, outcome=outcome)
        if name_of(job.prompt, job.sample) in self.again:
            return  # what failed before may fail for good, and ends nothing
        self.unjudged = self.unjudged + 1 if outcome.unjudged else 0
        if self.unjudged == DEAD:
            why = outcome.unjudged.rstrip(".")
            self.failures.append(JudgeError(f"{DEAD} samples in a row could not be judged ({why}): mend that, and the "
                                            "same command goes on."))  # fmt: skip

    def _tell(self, kind: Literal["found", "started", "finished", "failed"], job: Job, *,
              outcome: Outcome | None = None, error: Exception | None = None) -> None:  # fmt: skip
        self.on_event(Event(kind, job, self.done, self.total, outcome, error))


def _first_of(failures: list[Exception]) -> Exception:
    """The first failure, with a note of how many followed."""
    first = failures[0]
    if len(failures) > 1:
        first.add_note(f"{len(failures) - 1} more samples in flight failed after this one.")
    return first
