"""Ray actors that pull their work: whoever is free takes the next call, and what a lost one had is called again.

An actor keeps one GPU, or some cores, from the first call to the last. One that dies (killed, out of memory, a machine
that leaves) is replaced as soon as the cluster has room; one that the cluster has no room for yet joins when it has.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from milr.outside.logs import logger
from milr.types import MilrError, MissingError, UsageError

LOCAL = "local"  # Ray's name for a cluster of one's own on this machine
PATIENCE = 8  # losses for each worker, with no call done in between, after which a run gives up
Reply = tuple[Any, Exception | None]  # what every method of an actor returns


@dataclass(frozen=True)
class Resources:
    """What a pool asks of a cluster.

    `workers` None: as many as the cluster has room for now. `gpus` None: one for each worker where the cluster has any,
    else none. `address` None: the cluster that RAY_ADDRESS names, or one that is started on this machine.
    """

    workers: int | None = None
    gpus: float | None = None
    cores: int = 1
    address: str | None = None


@contextmanager
def cluster(resources: Resources) -> Iterator[Resources]:
    """A connection to the cluster, and the numbers of workers and GPUs that were left open; ended at the end."""
    if find_spec("ray") is None:
        raise MissingError("--engine ray needs the package ray: pip install 'milr[ray]'.")
    import ray

    _connect(resources)
    try:
        yield _resolved(resources, ray.cluster_resources())
    finally:
        ray.shutdown()


def _connect(resources: Resources) -> None:
    import ray

    address = resources.address or os.environ.get("RAY_ADDRESS") or LOCAL
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        with _own_sigterm():
            if address != LOCAL:
                ray.init(address=address, **quiet)
                return
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read where a cluster is started: it tells nobody
            cores = max((resources.workers or 1) * resources.cores, _num_cores())
            _start_local(num_cpus=cores, include_dashboard=False, **quiet)
    except Exception as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise UsageError(f"Ray cannot be used at {address} ({reason}): check --address, and that the cluster runs the "
                         "same versions of Ray and Python.") from error  # fmt: skip


def _start_local(**settings: Any) -> None:
    """Start a cluster on this machine, a second time where it was too busy for the half minute that Ray waits."""
    import ray

    try:
        ray.init(address=LOCAL, **settings)
    except Exception:
        ray.shutdown()
        ray.init(address=LOCAL, **settings)


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep this program's handler of SIGTERM, which Ray replaces."""
    kept = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and kept is not None:
            signal.signal(signal.SIGTERM, kept)


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _resolved(resources: Resources, there: dict[str, float]) -> Resources:
    gpus = resources.gpus
    if gpus is None:
        gpus = 1.0 if there.get("GPU", 0) >= 1 else 0.0
    by_gpus = there.get("GPU", 0) / gpus if gpus else float("inf")
    room = int(min(by_gpus, there.get("CPU", 0) / resources.cores))
    return Resources(resources.workers or max(1, room), gpus, resources.cores, resources.address)


@dataclass(eq=False)
class _Worker:
    """An actor; `calls` are those that it works on. One that is not ready yet gets none."""

    handle: Any
    ready: bool = False
    calls: int = 0


@dataclass
class ActorPool:
    """Actors of the class `kind`, made with `arguments`, of `resources.workers` at most `calls` calls at once each.

    Every method of `kind` returns (result, None) or (None, error). `first` is asked of each before anything else, and
    `check` raises where its result will not do.
    """

    kind: type
    arguments: tuple[Any, ...]
    resources: Resources
    calls: int
    first: str
    check: Callable[[Any], None]
    _workers: list[_Worker] = field(default_factory=list)
    _failure: Exception | None = None
    _losses: int = 0
    _waiting: list[tuple[float, int]] = field(default_factory=list)
    _count: Iterator[int] = field(default_factory=itertools.count)
    _users: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def start_first(self) -> Any:
        """Start one actor, and wait for what it says first."""
        import ray

        handle = self._make()
        try:
            result = _result(ray.get(getattr(handle, self.first).remote()))
        except _lost() as error:
            raise MilrError(f"the first worker ended while it loaded the model ({_why(error)}).") from error
        self._workers.append(_Worker(handle, ready=True))
        return result

    @asynccontextmanager
    async def use(self) -> AsyncIterator[None]:
        """Have all actors at work; they end when the last user is gone."""
        self._users += 1
        try:
            self.start_others()
            yield
        finally:
            self._users -= 1
            if not self._users:
                await self.close()

    def start_others(self) -> None:
        """Start the other actors, which take part as soon as they are ready; called on the event loop."""
        for _ in range((self.resources.workers or 1) - len(self._workers)):
            self._start()

    async def call(self, method: str, *arguments: Any, urgency: float = 0.0) -> Any:
        """Call a method of whichever actor is free, again where the actor is lost; errors raised there are raised.

        Of the calls that wait, the most urgent is made first, and of equal ones the one that came first.
        """
        place = (-urgency, next(self._count))
        while True:
            worker = await self._free_worker(place)
            try:
                reply = await getattr(worker.handle, method).remote(*arguments)
                self._losses = 0
                return _result(reply)
            except _lost() as error:
                await self._replace(worker, error)
            finally:
                async with self._changed:
                    worker.calls -= 1
                    self._changed.notify_all()

    async def close(self) -> None:
        """Start nothing any more, and end all actors."""
        import ray

        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for worker in self._workers:
            with suppress(Exception):  # of a cluster that is gone
                ray.kill(worker.handle)

    def _make(self) -> Any:
        import ray

        remote = ray.remote(num_cpus=self.resources.cores, num_gpus=self.resources.gpus or 0)(self.kind)
        return remote.options(max_concurrency=self.calls + 1).remote(*self.arguments)

    def _start(self) -> None:
        worker = _Worker(self._make())
        self._workers.append(worker)
        task = asyncio.ensure_future(self._prepare(worker))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _prepare(self, worker: _Worker) -> None:
        """Wait until an actor is ready; one that is lost before is replaced, one that will not do ends the run."""
        try:
            self.check(_result(await getattr(worker.handle, self.first).remote()))
            worker.ready = True
        except _lost() as error:
            await self._replace(worker, error)
        except Exception as error:
            self._failure = error
        async with self._changed:
            self._changed.notify_all()

    async def _free_worker(self, place: tuple[float, int]) -> _Worker:
        """The worker with the fewest calls, when it may have one more and it is the turn of the call at `place`.

        Raises what has ended the pool.
        """
        async with self._changed:
            bisect.insort(self._waiting, place)
            try:
                await self._changed.wait_for(lambda: self._failure or (self._waiting[0] == place and self._free()))
            finally:
                self._waiting.remove(place)
                self._changed.notify_all()
            if self._failure:
                raise self._failure
            worker = self._free()
            assert worker is not None
            worker.calls += 1
            return worker

    def _free(self) -> _Worker | None:
        free = (worker for worker in self._workers if worker.ready and worker.calls < self.calls)
        return min(free, key=lambda worker: worker.calls, default=None)

    async def _replace(self, worker: _Worker, error: Exception) -> None:
        """Another actor in place of a lost one; a run whose workers only get lost gives up."""
        import ray

        if worker not in self._workers:  # several of its calls were lost with it
            return
        self._workers.remove(worker)
        with suppress(Exception):  # it may be alive where only the connection is gone
            ray.kill(worker.handle)
        self._losses += 1
        logger(__name__).warning("a worker was lost (%s); its searches begin again on another", _why(error))
        if self._losses > PATIENCE * (self.resources.workers or 1):
            self._failure = MilrError(f"{self._losses} workers were lost one after the other and no search was done "
                                      f"({_why(error)}): mend that, and the same command goes on.")  # fmt: skip
        else:
            self._start()


def _lost() -> tuple[type[Exception], ...]:
    """What Ray raises where an actor, its machine, or a result on that machine is gone."""
    from ray import exceptions

    return (exceptions.RayActorError, exceptions.WorkerCrashedError, exceptions.NodeDiedError,
            exceptions.OutOfMemoryError, exceptions.ObjectLostError)  # fmt: skip


def _result(reply: Reply) -> Any:
    result, error = reply
    if error is not None:
        raise error
    return result


def _why(error: Exception) -> str:
    """The last sentence that says why an actor is gone, of the many that Ray has."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].split(". ")[0].rstrip(".")[:160] if lines else type(error).__name__
