"""The session of a server: searches that can be watched and stopped, each in a run folder, and questions.

All of them share one studio, so that whatever any number of clients asks at the same time is decoded together.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from milr.engine.partial_pictures import OnPartial, StudioWithPartialPictures
from milr.engine.process_pool import MIN_PICTURES
from milr.engine.studio import Studio
from milr.engine.studio_with_reward import StudioWithReward
from milr.runs.events import Listener
from milr.types import Answer, Outcome, Score
from milr.workflows.running import run_into, stored_outcomes
from milr.workflows.searcher import InProcess
from milr.workflows.session import Session

if TYPE_CHECKING:
    from PIL.Image import Image

    from milr.workflows.session import _Call

WORKERS = 1024  # searches at once, more than any machine has processes for


@dataclasses.dataclass(frozen=True)
class Watcher:
    """Who hears of one search.

    `on_ready(sentences)` is called on the caller's thread before the search begins: it can be run, and the user should
    know these sentences. The others are called on the session's own thread: `listener` as in `milr.runs.events`,
    `on_partial(key, picture, share)` while a picture is drawn in `parts`.
    """

    on_ready: Callable[[tuple[str, ...]], None]
    listener: Listener
    on_partial: OnPartial | None = None
    parts: int = 4


class ServingSession(Session):
    """A session with one studio for all calls. `processes`: a small model on a CPU gets a process for each core."""

    _warn = staticmethod(lambda sentences: None)  # type: ignore[assignment]  # a watcher hears of them

    def __init__(self, model: str | Path = "nano", *, processes: bool = True, **options: Any) -> None:
        super().__init__(model, **options)
        self._processes = processes

    async def search(self, prompt: str, samples: int, out: Path, watcher: Watcher,
                     options: Mapping[str, Any]) -> list[Outcome]:  # fmt: skip
        """Search for `samples` pictures of a prompt, into the run folder `out`; what is finished there is kept.

        Cancelling it stops the work. MilrError, in one sentence, for what cannot be run.
        """
        keywords: Any = {**options, "out": out, "listener": watcher.listener}
        call = await asyncio.to_thread(self._call, prompt, samples, keywords)
        watcher.on_ready(call.prepared.warnings)
        return await self._loop.submit(self._search(call, watcher)).awaited()

    async def ask(self, picture: Image, question: str, max_new_tokens: int | None = None) -> Answer:
        """The model's answer to a question that it can read (`model.check`) about any picture."""
        return await self._loop.submit(self._ask(picture, question, max_new_tokens)).awaited()

    async def judge(self, picture: Image, prompt: str, options: Mapping[str, Any]) -> tuple[str, Score]:
        """Any picture's score by the reward that a search for the prompt would have, and its name.

        MilrError, in one sentence, for what cannot be judged.
        """
        call = await asyncio.to_thread(self._call, prompt, None, options)
        return call.prepared.reward_name, await self._loop.submit(self._judge(call, picture)).awaited()

    async def _judge(self, call: _Call, picture: Image) -> Score:
        async with self._engine(call) as studio, studio.method():
            return await studio.score(picture, call.prepared.prompts[0])

    async def _search(self, call: _Call, watcher: Watcher) -> list[Outcome]:
        assert call.out is not None
        async with self._engine(call) as studio:
            if watcher.on_partial:
                shown = StudioWithPartialPictures(cast(StudioWithReward, studio), watcher.on_partial, watcher.parts)
                studio = cast(Studio, shown)
            searcher = InProcess(call.prepared, studio)
            store = await run_into(call.out, call.prepared, searcher, call.listeners, is_alone=False)
        return await asyncio.to_thread(stored_outcomes, store, call.prepared)

    async def _ask(self, picture: Image, question: str, max_new_tokens: int | None) -> Answer:
        studio = self._studio()
        async with studio.method():
            return await studio.answer(picture, question, max_new_tokens)

    @asynccontextmanager
    async def _engine(self, call: _Call) -> AsyncIterator[Studio]:
        """The one studio, with the call's reward."""
        yield cast(Studio, StudioWithReward(self._studio(), call.prepared.reward))

    def _studio(self) -> Studio:
        """The studio of all calls; of its own it judges by nothing, since every call brings its reward."""
        if False not in self._studios:
            pictures = MIN_PICTURES if self._processes else 0
            self._studios[False] = Studio(self.model, cast(Any, None), searches=WORKERS, pictures=pictures)
        return self._studios[False]
