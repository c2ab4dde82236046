"""A run whose searches go on on a Ray cluster; its folder is written by this process, on any disk that it has."""

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
    check_names(options)
    with cluster(resources_of(options)) as resources:
        yield prepare_on(resources, texts, options, benchmark=benchmark, label=label)


def prepare_on(resources: Resources, texts: Sequence[str | Prompt], options: Options, *,
               benchmark: Benchmark | None = None, label: str = "") -> RayRun:  # fmt: skip
    """A run on a cluster that is connected to."""
    if not resources.gpus:
        options = dataclasses.replace(options, threads=resources.cores)
    request = RunRequest(tuple(texts), options, label, describe_benchmark(benchmark))
    num_workers = resources.workers or 1
    num_jobs = len(jobs_of(list(texts), options.samples, options.shard))  # type: ignore[arg-type]
    calls = max(1, min(options.in_flight, math.ceil(num_jobs / num_workers)))
    pool = ActorPool(SearchWorker, (request,), resources, calls, "describe", lambda other: _refuse_other(run, other))
    run = RayRun(pool.start_first(), pool)
    return run


def _refuse_other(run: RayRun, other: RunDescription) -> None:
    """MilrError where a worker has prepared another run, as with another version of milr or other weights."""
    if other.configuration.digest != run.config().digest:
        differences = "; ".join(describe_differences(run.config(), other.configuration))
        raise MilrError(f"a worker has another model or other code than the first one ({differences}): give all "
                        "machines the same versions and files.")  # fmt: skip


@dataclass
class RayRun:
    """A `RunPlan`: what the first worker says of the run, and the workers."""

    description: RunDescription
    pool: ActorPool

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
        """The workers, of whose batches nobody hears; they end at the end."""
        try:
            self.pool.start_others()
            yield OnRay(self.pool)
        finally:
            await self.pool.close()


class OnRay:
    """A `Searcher` that hands each search to the worker that has the fewest.

    Its steps are told when it has ended, so that no listener can end it early.
    """

    def __init__(self, pool: ActorPool) -> None:
        self._pool = pool
        self.workers = pool.resources.workers or 1
        self.in_flight = pool.calls * self.workers

    async def search(self, prompt: Prompt, sample: int, listener: Listener,
                     unfinished: OpenUnfinished | None = None) -> Outcome:  # fmt: skip
        """As `Searcher` says; an interrupted search begins again."""
        outcome = restore_files(await self._pool.call("search", prompt, sample))
        _tell_of_steps(outcome, listener)
        return outcome

    async def judge(self, outcome: Outcome) -> Outcome:
        """As `Searcher` says."""
        return restore_files(await self._pool.call("judge", _with_pictures(outcome)))

    async def peak_memory(self) -> int:
        """As `Searcher` says, of one worker."""
        return int(await self._pool.call("peak_memory"))


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
