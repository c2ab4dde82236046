"""A worker on a Ray cluster: it prepares the run with a model of its own, and searches for what it is asked for.

Replies are (result, None) or (None, error). An outcome travels as the bytes of its files, which the run's folder gets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from milr.options import Options
from milr.runs.events import Listeners
from milr.types import MilrError, Outcome, Prompt

if TYPE_CHECKING:
    from milr.engine.ray_pool import Reply
    from milr.runs.config import RunConfig
    from milr.workflows.searcher import InProcess


@dataclass(frozen=True)
class RunRequest:
    """What a run is to be, as it is told to workers."""

    texts: tuple[str | Prompt, ...]
    options: Options
    label: str = ""
    benchmark: BenchmarkNotes | None = None


@dataclass(frozen=True)
class BenchmarkNotes:
    """What a run's configuration says of its benchmark."""

    name: str
    deviations: tuple[str, ...] = ()
    official: bool = True


@dataclass(frozen=True)
class RunDescription:
    """What a worker says of the run that it has prepared."""

    options: Options
    prompts: tuple[Prompt, ...]
    configuration: RunConfig
    pictures: int
    warnings: tuple[str, ...]
    request: str


class SearchWorker:
    """One model, for many searches at once. Ray calls its methods on one event loop."""

    def __init__(self, request: RunRequest) -> None:
        self._request = request
        self._description: RunDescription | None = None
        self._searcher: InProcess | None = None

    async def describe(self) -> Reply:
        """Prepare the run, and say what it is: a `RunDescription`."""
        try:
            if self._description is None:
                self._description = self._prepare()
            return self._description, None
        except Exception as error:
            return None, _portable(error)

    async def search(self, prompt: Prompt, sample: int) -> Reply:
        """One sample of one prompt: a `SampleFiles`."""
        return await self._outcome("search", prompt, sample, Listeners())

    async def judge(self, outcome: Outcome) -> Reply:
        """The outcome with the report metric's scores: a `SampleFiles`."""
        return await self._outcome("judge", outcome)

    async def peak_memory(self) -> Reply:
        """Bytes that this process used at most."""
        assert self._searcher is not None
        return await self._searcher.peak_memory(), None

    async def _outcome(self, method: str, *arguments: Any) -> Reply:
        import asyncio

        from milr.runs.sample_files import encode_sample

        assert self._description is not None
        run = self._description.configuration.digest
        try:
            outcome = await getattr(self._searcher, method)(*arguments)
            return await asyncio.to_thread(encode_sample, outcome, run), None
        except Exception as error:
            return None, _portable(error)

    def _prepare(self) -> RunDescription:
        from milr.engine.studio import Studio
        from milr.workflows.prepare import prepare
        from milr.workflows.searcher import InProcess

        request = self._request
        benchmark: Any = request.benchmark
        run = prepare(request.texts, request.options, benchmark=benchmark, label=request.label)
        self._searcher = InProcess(run, Studio(run.model, run.reward))
        return RunDescription(run.options, run.prompts, run.config(), run.pictures, run.warnings, run.request)


def describe_benchmark(benchmark: Any) -> BenchmarkNotes | None:
    """What a worker has to know of a benchmark; its prompts are sent beside it."""
    if benchmark is None:
        return None
    return BenchmarkNotes(benchmark.name, tuple(getattr(benchmark, "deviations", ())),
                          getattr(benchmark, "official", True))  # fmt: skip


def _portable(error: Exception) -> Exception:
    """The error as it can be sent and raised elsewhere: our own as they are, others by their words."""
    if isinstance(error, MilrError):
        return type(error)(str(error))
    return RuntimeError(f"{type(error).__name__}: {error}")
