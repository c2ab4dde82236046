"""Where the searches of a run go on: in this process (and, with a small model, on its cores), or elsewhere.

A run knows of its searcher no more than `Searcher` says. What a search finds is the same everywhere: its randomness is
keyed by seed, prompt and sample.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

from milr.engine.studio import OnBatch, Studio
from milr.options import Options
from milr.runs.events import Listener
from milr.types import Outcome, Prompt, UsageError
from milr.workflows.memory import peak_memory, reset_peak

if TYPE_CHECKING:
    from milr.runs.config import RunConfig
    from milr.runs.runner import Job
    from milr.runs.unfinished import UnfinishedSearch

LOCAL, RAY = ENGINES = ("local", "ray")
OpenUnfinished = Callable[[], "UnfinishedSearch"]


def refuse_other_engines(options: Options) -> None:
    """UsageError where a session, whose model is in this process, is to search elsewhere."""
    if options.engine != LOCAL:
        raise UsageError(f"a session searches in this process: leave engine out, or call milr.generate, or milr "
                         f"bench with --engine {options.engine}.")  # fmt: skip


class Searcher(Protocol):
    """Does the searches of one run, `in_flight` at once, with `workers` models."""

    in_flight: int
    workers: int

    async def search(self, prompt: Prompt, sample: int, listener: Listener,
                     unfinished: OpenUnfinished | None = None) -> Outcome:  # fmt: skip
        """One sample of one prompt; `listener` hears of its steps.

        `unfinished` opens what an interrupted search was answered.
        """
        ...

    async def judge(self, outcome: Outcome) -> Outcome:
        """An outcome that the report metric did not judge to the end, with its scores."""
        ...

    async def peak_memory(self) -> int:
        """Bytes that one process used at most; 0: not known."""
        ...


class RunPlan(Protocol):
    """What a run is, whoever searches for it: see `prepare.PreparedRun`."""

    @property
    def options(self) -> Options: ...
    @property
    def prompts(self) -> Sequence[Prompt]: ...
    @property
    def jobs(self) -> Sequence[Job]: ...
    @property
    def pictures(self) -> int: ...
    @property
    def warnings(self) -> Sequence[str]: ...
    @property
    def request(self) -> str: ...
    def config(self) -> RunConfig: ...
    def open_searcher(self, on_batch: OnBatch | None = None) -> AbstractAsyncContextManager[Searcher]: ...


class SearchOne(Protocol):
    """The part of a prepared run that searches with a studio."""

    @property
    def options(self) -> Options: ...

    async def search_one(self, studio: Studio, prompt: Prompt, sample: int, listener: Listener,
                         unfinished: UnfinishedSearch | None = None) -> Outcome: ...  # fmt: skip

    async def judge(self, studio: Studio, outcome: Outcome) -> Outcome: ...


class InProcess:
    """The searches of a prepared run in this process, by a studio."""

    workers = 1

    def __init__(self, run: SearchOne, studio: Studio) -> None:
        self._run, self._studio = run, studio
        self.in_flight = run.options.in_flight
        reset_peak()

    async def search(self, prompt: Prompt, sample: int, listener: Listener,
                     unfinished: OpenUnfinished | None = None) -> Outcome:  # fmt: skip
        """As `Searcher` says; an interrupted search goes on from what it was answered."""
        earlier = await asyncio.to_thread(unfinished) if unfinished else None
        return await self._run.search_one(self._studio, prompt, sample, listener, earlier)

    async def judge(self, outcome: Outcome) -> Outcome:
        """As `Searcher` says."""
        return await self._run.judge(self._studio, outcome)

    async def peak_memory(self) -> int:
        """As `Searcher` says, with the processes that the model works in."""
        return await asyncio.to_thread(peak_memory, self._run.options.device, self._studio.model)
