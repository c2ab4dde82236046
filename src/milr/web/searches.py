"""Searches for clients: each in a run folder of its own, watched as events, stopped or given up at any time.

Work goes on in a task of its own. Whoever stops reading the events gives it up: the task is cancelled, and what the
search was answered so far stays in its folder, from which it can go on.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milr.outside.logs import logger
from milr.runs.events import Event as RunEvent
from milr.runs.events import StepFinished, StopSearch
from milr.runs.files import make_folder, write_atomically
from milr.types import Key, MilrError, Outcome, Step
from milr.web.admission import Admission
from milr.web.errors import ApiError, api_error
from milr.web.limits import ServerSettings
from milr.web.metrics import Metrics
from milr.workflows.serving import ServingSession, Watcher

if TYPE_CHECKING:
    from PIL.Image import Image

REQUEST_FILE = "request.json"
MOST_WAITING = 16  # events of a search that its client has not read, above which it gets no unfinished pictures
LOG = logger(__name__)


@dataclass(frozen=True)
class Request:
    """What is searched for: `samples` pictures of a prompt. `parts` above 1: each picture is shown while it is drawn.

    `run` names the folder of a search that goes on (None: a new one).
    """

    prompt: str
    samples: int
    options: Mapping[str, Any]
    parts: int = 1
    run: str | None = None


@dataclass(frozen=True)
class Started:
    """The search can be run, and begins; `warnings` are sentences for its user."""

    run: str
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Partial:
    """A picture that is being drawn, and the share of its rows that is."""

    sample: int
    step: int
    picture: Image
    share: float


@dataclass(frozen=True)
class Made:
    """A picture was made and judged."""

    sample: int
    step: Step


@dataclass(frozen=True)
class Ended:
    """All samples are finished, and stored."""

    outcomes: list[Outcome]


Event = Started | Partial | Made | Ended


@dataclass
class _Going:
    """A search under way: its events (an exception ends them), and whether somebody asked it to stop."""

    run: str
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    events: asyncio.Queue[Event | BaseException] = field(default_factory=asyncio.Queue)
    stopped: bool = False

    def tell(self, event: Event | BaseException) -> None:
        """Add an event, from any thread; pictures being drawn are left out for a client that does not keep up."""
        if isinstance(event, Partial) and self.events.qsize() > MOST_WAITING:
            return
        with suppress(RuntimeError):  # the server has ended meanwhile
            self.loop.call_soon_threadsafe(self.events.put_nowait, event)


class Searches:
    """All searches of one server."""

    def __init__(self, session: ServingSession, settings: ServerSettings, metrics: Metrics) -> None:
        self.session, self.metrics, self.out = session, metrics, settings.out
        self.admission = Admission(settings.limits, metrics)
        self._going: dict[str, _Going] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def is_going(self, run: str) -> bool:
        """Whether the search of this run folder is at work, or waits for its turn."""
        return run in self._going

    def stop(self, run: str) -> bool:
        """Let a search end with the picture that it draws, and keep its best; False where there is none."""
        if run in self._going:
            self._going[run].stopped = True
        return run in self._going

    async def watch(self, request: Request) -> AsyncGenerator[Event, None]:
        """The events of a search, `Started` first and `Ended` last; leaving them gives the search up.

        ApiError or MilrError where it cannot be run, or fails.
        """
        run = request.run or f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"
        if run in self._going:
            raise ApiError("this search goes on already.", status=409, code="already_running")
        self.admission.check()
        going = self._going[run] = _Going(run)
        task = asyncio.create_task(self._work(going, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while True:
                event = await going.events.get()
                if isinstance(event, BaseException):
                    raise event
                yield event
                if isinstance(event, Ended):
                    return
        finally:
            task.cancel()

    async def close(self) -> None:
        """Give up what goes on, and wait until it has ended."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _work(self, going: _Going, request: Request) -> None:
        how = "failed"
        try:
            async with self.admission.place():
                with self.metrics.seconds.time():
                    outcomes = await self._search(going, request)
            how = "stopped" if going.stopped else "finished"
            going.tell(Ended(outcomes))
        except asyncio.CancelledError:
            how = "given up"
            going.tell(ApiError("the server is closing; the search goes on from its run.", status=503, code="closing"))
            raise
        except Exception as error:
            if not isinstance(error, (MilrError, ApiError)):
                LOG.exception("a search failed")
            going.tell(api_error(error))
        finally:
            self.metrics.searches.labels(how).inc()
            del self._going[going.run]

    async def _search(self, going: _Going, request: Request) -> list[Outcome]:
        folder = self.out / going.run

        def on_ready(warnings: tuple[str, ...]) -> None:
            if request.run is None:
                _write_request(folder, request)  # not synced: a run without it is whole
            going.tell(Started(going.run, warnings))

        def listen(event: RunEvent) -> None:
            if isinstance(event, StepFinished):
                self.metrics.add(event.step.cost)
                going.tell(Made(event.key.sample, event.step))
                if going.stopped:
                    raise StopSearch

        def on_partial(key: Key, picture: Image, share: float) -> None:
            going.tell(Partial(key.sample, key.step, picture, share))

        watcher = Watcher(on_ready, listen, on_partial if request.parts > 1 else None, request.parts)
        return await self.session.search(request.prompt, request.samples, folder, watcher, request.options)


def _write_request(folder: Path, request: Request) -> None:
    """Note what was asked for beside the run, so that an interrupted search can go on."""
    asked = asdict(request)
    content = {name: asked[name] for name in ("prompt", "samples", "options")}
    make_folder(folder)
    write_atomically(folder / REQUEST_FILE, json.dumps({"version": 1, **content}, indent=1).encode())
