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

from milr.inputs.shard import Shard
from milr.runs.events import (
    Listener,
    Listeners,
    RunFinished,
    RunStarted,
    SearchFailed,
    SearchFinished,
    SearchFound,
    SearchStarted,
)
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
class Tally:
    """How many samples the run has, how many of them were on disk before, and how many were made now."""

    total: int
    existing: int
    new: int


def jobs_of(prompts: Iterable[Prompt], samples: int = 1, shard: str | None = None) -> list[Job]:
    """One job per prompt and sample: sample 0 of every prompt, then sample 1 of every prompt, and so on.

    In this order an interrupted run covers all prompts. `shard` "2/4" names a part of them.
    """
    prompts = list(prompts)
    jobs = [Job(prompt, sample) for sample in range(samples) for prompt in prompts]
    return jobs if shard is None else Shard.parse(shard).of(jobs)


async def run(jobs: Iterable[Job], *, store: RunStore, search_one: SearchOne, in_flight: int = 8,
              listener: Listener = Listeners(), finished: Collection[str] = ()) -> Tally:  # fmt: skip
    """Call `search_one` for every job without a finished record, at most `in_flight` at once, and write each outcome.

    Two jobs with the same prompt and sample are one job. `finished` names samples whose records are known to be
    finished, so that they are not read. The listener is told of everything but steps, and must not raise. Raises the
    first failure of a job, JudgeError where a judge gave up on MAX_UNJUDGED new jobs in a row.
    """
    unique = list({name_of(job.prompt, job.sample): job for job in jobs}.values())
    workers = _Workers(store, search_one, listener, len(unique))
    listener(RunStarted(store.run().config, workers.total, store.folder))
    try:
        existing = await workers.run(unique, in_flight, finished)
    finally:
        listener(RunFinished(workers.done, workers.total, store.folder))
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
    listener: Listener
    total: int
    done: int = 0
    failures: list[Exception] = field(default_factory=list)
    unjudged: int = 0
    retried: set[str] = field(default_factory=set)

    async def run(self, jobs: list[Job], in_flight: int, finished: Collection[str]) -> int:
        """Work on all jobs that are not finished; how many are."""
        known = frozenset(finished)
        remaining = [job for job in jobs if not self.skip_finished(job, known)]
        self.retried = {
            name_of(job.prompt, job.sample) for job in remaining if self.store.record(job.prompt, job.sample)
        }
        queue = iter(sorted(remaining, key=lambda job: name_of(job.prompt, job.sample) in self.retried))
        existing = self.done
        async with asyncio.TaskGroup() as group:
            for _ in range(max(1, min(in_flight, len(remaining)))):
                group.create_task(self.work(queue))
        return existing

    def skip_finished(self, job: Job, known: frozenset[str]) -> bool:
        """Whether the job's record is on disk already; if so, counts it and reports the event."""
        finished = name_of(job.prompt, job.sample) in known or self.store.finished(job.prompt, job.sample)
        if finished:
            self.done += 1
            self.listener(SearchFound(job.prompt, job.sample, self.done, self.total))
        return finished

    async def work(self, queue: Iterator[Job]) -> None:
        """One worker: takes jobs from the queue until it is empty or a job of any worker has failed."""
        while not self.failures and (job := next(queue, None)) is not None:
            try:
                self.listener(SearchStarted(job.prompt, job.sample, self.done, self.total))
                await self._finish(job, await self._search(job))
            except Exception as error:
                self.failures.append(error)
                self.listener(SearchFailed(job.prompt, job.sample, error, self.done, self.total))

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
        self.listener(SearchFinished(outcome, self.done, self.total))
        if name_of(job.prompt, job.sample) in self.retried:
            return  # it failed in an earlier run and may fail for good: that must not end this run
        self.unjudged = self.unjudged + 1 if outcome.unjudged else 0
        if self.unjudged == MAX_UNJUDGED:
            reason = outcome.unjudged.rstrip(".")
            self.failures.append(JudgeError(f"{MAX_UNJUDGED} samples in a row could not be judged ({reason}): mend "
                                            "that, and the same command goes on."))  # fmt: skip


def _first_failure(failures: list[Exception]) -> Exception:
    """The first failure, with a note of how many followed."""
    first = failures[0]
    if len(failures) > 1:
        first.add_note(f"{len(failures) - 1} more samples in flight failed after this one.")
    return first
