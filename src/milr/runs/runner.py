"""Runs a run's jobs, several at once, and writes each outcome to disk as soon as its job is finished.

When one job fails, or a judge has given up on MAX_UNJUDGED new jobs in a row, no new job starts, the jobs in flight
finish and are written, and the failure is raised. A sample that no judge could score is searched again by the next run,
after all new samples. When the run is cancelled, the jobs in flight are dropped (the same command resumes), and a
record that is being written is completed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from milr.runs.store import RunStore, name_of
from milr.types import JudgeError, Outcome, Prompt

MAX_UNJUDGED = 8
SearchOne = Callable[[Prompt, int], Awaitable[Outcome]]


@dataclass(frozen=True)
class Job:
    """One sample of one prompt."""

    prompt: Prompt
    sample: int = 0


@dataclass(frozen=True)
class Event:
    """What happened to one job. `done` of `total` samples are on disk, those of earlier runs included.

    `kind`: "found" (its record was on disk already), "started", "finished" or "failed".
    """

    kind: Literal["found", "started", "finished", "failed"]
    job: Job
    done: int
    total: int
    outcome: Outcome | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class Tally:
    """How many samples the run has, how many of them were on disk before, and how many were made now."""

    total: int
    existing: int
    new: int


OnEvent = Callable[[Event], None]


def jobs_of(prompts: Iterable[Prompt], samples: int = 1) -> list[Job]:
    """One job per prompt and sample: sample 0 of every prompt, then sample 1 of every prompt, and so on.

    In this order an interrupted run covers all prompts.
    """
    prompts = list(prompts)
    return [Job(prompt, sample) for sample in range(samples) for prompt in prompts]


async def run(jobs: Iterable[Job], *, store: RunStore, search_one: SearchOne, in_flight: int = 8,
              on_event: OnEvent | None = None, finished: Collection[str] = ()) -> Tally:  # fmt: skip
    """Call `search_one` for every job without a finished record, at most `in_flight` at once, and write each outcome.

    Two jobs with the same prompt and sample are one job. `finished` names samples whose records are known to be
    finished, so that they are not read. Raises the first failure of a job, JudgeError where a judge
    gave up on MAX_UNJUDGED new jobs in a row.
    """
    unique = list({name_of(job.prompt, job.sample): job for job in jobs}.values())
    workers = _Workers(store, search_one, on_event or (lambda event: None), len(unique))
    known = frozenset(finished)
    remaining = [job for job in unique if not workers.skip_finished(job, known)]
    workers.retried = {name_of(job.prompt, job.sample) for job in remaining if store.record(job.prompt, job.sample)}
    queue = iter(sorted(remaining, key=lambda job: name_of(job.prompt, job.sample) in workers.retried))
    existing = workers.done
    async with asyncio.TaskGroup() as group:
        for _ in range(max(1, min(in_flight, len(remaining)))):
            group.create_task(workers.work(queue))
    if workers.failures:
        raise _first_failure(workers.failures)
    return Tally(workers.total, existing, workers.done - existing)


@dataclass
class _Workers:
    """The state that the concurrent workers of one run share.

    `unjudged` counts the new jobs in a row that no judge could score; `retried` names the samples that an earlier run
    could not have scored.
    """

    store: RunStore
    search_one: SearchOne
    on_event: OnEvent
    total: int
    done: int = 0
    failures: list[Exception] = field(default_factory=list)
    unjudged: int = 0
    retried: set[str] = field(default_factory=set)

    def skip_finished(self, job: Job, known: frozenset[str]) -> bool:
        """Whether the job's record is on disk already; if so, counts it and reports the event."""
        finished = name_of(job.prompt, job.sample) in known or self.store.finished(job.prompt, job.sample)
        if finished:
            self.done += 1
            self._notify("found", job)
        return finished

    async def work(self, queue: Iterator[Job]) -> None:
        """One worker: takes jobs from the queue until it is empty or a job of any worker has failed."""
        while not self.failures and (job := next(queue, None)) is not None:
            try:
                self._notify("started", job)
                await self._finish(job, await self._search(job))
            except Exception as error:
                self.failures.append(error)
                self._notify("failed", job, error=error)

    async def _search(self, job: Job) -> Outcome:
        """The job's outcome; RuntimeError where the search cancelled itself, which must not look like success."""
        try:
            return await self.search_one(job.prompt, job.sample)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise RuntimeError(f"the search for '{job.prompt.text}' was cancelled from within") from None

    async def _finish(self, job: Job, outcome: Outcome) -> None:
        """Write the outcome on another thread; a cancellation waits until the record is complete."""
        writing = asyncio.ensure_future(asyncio.to_thread(self.store.write, outcome))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])
            raise
        self.done += 1
        self._notify("finished", job, outcome=outcome)
        if name_of(job.prompt, job.sample) in self.retried:
            return  # it failed in an earlier run and may fail for good: that must not end this run
        self.unjudged = self.unjudged + 1 if outcome.unjudged else 0
        if self.unjudged == MAX_UNJUDGED:
            reason = outcome.unjudged.rstrip(".")
            self.failures.append(JudgeError(f"{MAX_UNJUDGED} samples in a row could not be judged ({reason}): mend "
                                            "that, and the same command goes on."))  # fmt: skip

    def _notify(self, kind: Literal["found", "started", "finished", "failed"], job: Job, *,
                outcome: Outcome | None = None, error: Exception | None = None) -> None:  # fmt: skip
        self.on_event(Event(kind, job, self.done, self.total, outcome, error))


def _first_failure(failures: list[Exception]) -> Exception:
    """The first failure, with a note of how many followed."""
    first = failures[0]
    if len(failures) > 1:
        first.add_note(f"{len(failures) - 1} more samples in flight failed after this one.")
    return first
