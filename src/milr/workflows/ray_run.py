"""Runs whose searches go on on a Ray cluster; their folders are written by this process, on any disk that it has."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from milr.engine.ray_pool import ActorPool, Resources, cluster
from milr.options import Options
from milr.runs.config import RunConfig, describe_differences
from milr.runs.events import Listener, StepFinished, StopSearch
from milr.runs.runner import Job, jobs_of
from milr.types import Cost, MilrError, Outcome, Prompt, Rollout
from milr.workflows.prepare import check_names
from milr.workflows.ray_worker import RunDescription, RunRequest, SearchWorker, describe_benchmark
from milr.workflows.stored import restore_files

if TYPE_CHECKING:
    from milr.base import Benchmark
    from milr.engine.studio import OnBatch
    from milr.workflows.searcher import OpenUnfinished, Searcher


def resources_of(options: Options) -> Resources:
    """What the options ask of a cluster; a worker on a CPU has as many cores as threads."""
    return Resources(options.workers, options.gpus_per_worker, options.threads or 1, options.address)


@contextmanager
def ray_run(texts: Sequence[str | Prompt], options: Options, *, benchmark: Benchmark | None = None, label: str = ""
            ) -> Iterator[RayRun]:  # fmt: skip
    """A run as `prepare` makes it, by the first worker of a cluster; the connection to it ends at the end."""
    with ray_queue([RunRequest(tuple(texts), options, label, describe_benchmark(benchmark))]) as (run,):
        yield run


@contextmanager
def ray_queue(requests: Sequence[RunRequest]) -> Iterator[list[RayRun]]:
    """Runs of one model that share the workers of a cluster, and are one queue; the others of `ray_run`."""
    for request in requests:
        check_names(request.options)
    with cluster(resources_of(requests[0].options)) as resources:
        if not resources.gpus:
            requests = [dataclasses.replace(request, options=dataclasses.replace(request.options,
                        threads=resources.cores)) for request in requests]  # fmt: skip
        yield _prepare_on(resources, requests)


def _prepare_on(resources: Resources, requests: Sequence[RunRequest]) -> list[RayRun]:
    num_jobs = sum(_num_jobs(request) for request in requests)
    in_flight = max(request.options.in_flight for request in requests)
    calls = max(1, min(in_flight, math.ceil(num_jobs / (resources.workers or 1))))
    pool = ActorPool(SearchWorker, (tuple(requests),), resources, calls, "describe", lambda other: _check(runs, other))
    runs = [RayRun(description, pool, place) for place, description in enumerate(pool.start_first())]
    return runs


def _num_jobs(request: RunRequest) -> int:
    prompts = [text if isinstance(text, Prompt) else Prompt(text) for text in request.texts]
    return len(jobs_of(prompts, request.options.samples, request.options.shard))


def _check(runs: Sequence[RayRun], others: Sequence[RunDescription]) -> None:
    """MilrError where a worker has prepared other runs, as with another version of milr or other weights."""
    for run, other in zip(runs, others, strict=True):
        if other.configuration.digest != run.config().digest:
            differences = "; ".join(describe_differences(run.config(), other.configuration))
            raise MilrError(f"a worker has another model or other code than the first one ({differences}): give all "
                            "machines the same versions and files.")  # fmt: skip


@dataclass
class RayRun:
    """A `RunPlan`: what the first worker says of the run, the workers, and the run's place among theirs."""

    description: RunDescription
    pool: ActorPool
    place: int

    @property
    def expected_pictures(self) -> float:
        """How many pictures one search is expected to draw: of those it may draw half, where it may stop."""
        return self.pictures / max(1, len(self.jobs)) / (2 if self.options.stop else 1)

    @property
    def options(self) -> Options:
        """As of a `PreparedRun`."""
        return self.description.options

    @property
    def prompts(self) -> Sequence[Prompt]:
        """As of a `PreparedRun`."""
        return self.description.prompts

    @property
    def pictures(self) -> int:
        """As of a `PreparedRun`."""
        return self.description.pictures

    @property
    def warnings(self) -> Sequence[str]:
        """As of a `PreparedRun`."""
        return self.description.warnings

    @property
    def request(self) -> str:
        """As of a `PreparedRun`."""
        return self.description.request

    @cached_property
    def jobs(self) -> list[Job]:
        """As of a `PreparedRun`."""
        return jobs_of(self.prompts, self.options.samples, self.options.shard)

    def config(self) -> RunConfig:
        """As of a `PreparedRun`."""
        return self.description.configuration

    @asynccontextmanager
    async def open_searcher(self, on_batch: OnBatch | None = None) -> AsyncIterator[Searcher]:
        """The workers, of whose batches nobody hears; they end when no run uses them any more."""
        async with self.pool.use():
            yield OnRay(self)


class OnRay:
    """A `Searcher` that hands each search to the worker that has the fewest.

    Its steps are told when it has ended, so that no listener can end it early.
    """

    def __init__(self, run: RayRun) -> None:
        self._run, self._pool = run, run.pool
        self.workers = run.pool.resources.workers or 1
        self.in_flight = run.pool.calls * self.workers

    async def search(self, prompt: Prompt, sample: int, listener: Listener,
                     unfinished: OpenUnfinished | None = None) -> Outcome:  # fmt: skip
        """As `Searcher` says; an interrupted search begins again."""
        outcome = restore_files(await self._call("search", prompt, sample))
        _tell_of_steps(outcome, listener)
        return outcome

    async def judge(self, outcome: Outcome) -> Outcome:
        """As `Searcher` says."""
        return restore_files(await self._call("judge", _with_pictures(outcome)))

    async def peak_memory(self) -> int:
        """As `Searcher` says, of one worker."""
        return int(await self._pool.call("peak_memory"))

    async def _call(self, method: str, *arguments: Any) -> Any:
        """Searches that are expected to take long are begun first, so that the last ones are short."""
        urgency = self._run.expected_pictures
        return await self._pool.call(method, self._run.place, *arguments, urgency=urgency)


def _tell_of_steps(outcome: Outcome, listener: Listener) -> None:
    cost = Cost()
    for step in outcome.steps:
        cost += step.cost
        try:
            listener(StepFinished(outcome.prompt, outcome.key, step, cost))
        except StopSearch:
            return


def _with_pictures(outcome: Outcome) -> Outcome:
    """The outcome with its pictures, and not with the paths of files that another machine may not have."""
    steps = [dataclasses.replace(step, rollout=_loaded(step.rollout)) for step in outcome.steps]
    return dataclasses.replace(outcome, steps=tuple(steps))


def _loaded(rollout: Any) -> Rollout:
    return Rollout(rollout.visualisation, rollout.image, rollout.picture)
