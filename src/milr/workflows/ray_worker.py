"""A worker on a Ray cluster: it prepares the runs with a model of its own, and searches for what it is asked for.

Replies are (result, None) or (None, error). An outcome travels as the bytes of its files, which the run's folder gets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

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
    """One model, for many searches at once, of one run or of several. Ray calls its methods on one event loop."""

    def __init__(self, requests: tuple[RunRequest, ...]) -> None:
        self._requests = requests
        self._descriptions: tuple[RunDescription, ...] = ()
        self._searchers: list[InProcess] = []

    async def describe(self) -> Reply:
        """Prepare all runs, and say what they are: a `RunDescription` of each."""
        try:
            self._descriptions = self._descriptions or self._prepare()
            return self._descriptions, None
        except Exception as error:
            return None, _portable(error)

    async def search(self, run: int, prompt: Prompt, sample: int) -> Reply:
        """One sample of one prompt in the `run`-th of the runs: a `SampleFiles`."""
        return await self._outcome(run, "search", prompt, sample, Listeners())

    async def judge(self, run: int, outcome: Outcome) -> Reply:
        """The outcome with the report metric's scores: a `SampleFiles`."""
        return await self._outcome(run, "judge", outcome)

    async def peak_memory(self) -> Reply:
        """Bytes that this process used at most."""
        return await self._searchers[0].peak_memory(), None

    async def _outcome(self, run: int, method: str, *arguments: Any) -> Reply:
        import asyncio

        from milr.runs.sample_files import encode_sample

        digest = self._descriptions[run].configuration.digest
        try:
            outcome = await getattr(self._searchers[run], method)(*arguments)
            return await asyncio.to_thread(encode_sample, outcome, digest), None
        except Exception as error:
            return None, _portable(error)

    def _prepare(self) -> tuple[RunDescription, ...]:
        """All runs, with one model, and with one studio, so that their searches share its batches."""
        from milr.engine.studio import Studio
        from milr.engine.studio_with_reward import StudioWithReward
        from milr.workflows.prepare import load_model, prepare
        from milr.workflows.reward_cache import RewardCache
        from milr.workflows.searcher import InProcess

        model, rewards = load_model(self._requests[0].options), RewardCache()
        runs = [prepare(request.texts, request.options, model=model, make_reward=rewards,
                        benchmark=cast(Any, request.benchmark), label=request.label)
                for request in self._requests]  # fmt: skip
        studio = Studio(model, runs[0].reward)
        self._searchers = [InProcess(run, cast(Studio, StudioWithReward(studio, run.reward))) for run in runs]
        return tuple(RunDescription(run.options, run.prompts, run.config(), run.pictures, run.warnings, run.request)
                     for run in runs)  # fmt: skip


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
