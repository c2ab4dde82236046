"""The studio owns the model and the reward, and turns many methods' single requests into batches.

A method awaits; its request joins a queue. When every running method waits for the studio, or a queue is full, one
queue is run as one batch on a worker thread: the quickest kind of work first, so that whoever lags behind catches up
before the others draw without it. Most models have one worker; a small one on a CPU has a worker for each core, with a
process of its own where there is much to do, and the methods part into as many crowds. Judges work beside the workers.
Randomness and results belong to requests, so who shares a batch with whom changes nothing but speed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from milr.base import Reward, UnifiedModel
from milr.engine.process_pool import Apart, apart
from milr.types import Answer, DrawRequest, ImageTrace, JudgeError, MilrError, Prompt, ReasonRequest, Score, TextTrace

if TYPE_CHECKING:
    from PIL.Image import Image

LINGER = 0.05  # seconds a waiting queue lets a method dawdle outside the studio
KINDS = ("compute", "render", "answer", "reason", "draw")  # quickest first
UNTOLD = ("compute", "render")  # kinds whose results do not say how long they took
Waiting = tuple[Any, "asyncio.Future[Any]"]
OnBatch = Callable[[str, int, float], None]


class Meter:
    """Seconds of a method's shares in batches of UNTOLD kinds, until they are taken."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def take(self) -> float:
        """What has gathered since the last time."""
        taken, self.seconds = self.seconds, 0.0
        return taken


class Studio:
    """One model with its worker threads, one reward. `on_batch(kind, rows, seconds)` hears of every batch.

    `searches` is how many methods there will be at once, `pictures` how many all of them may ask for.
    """

    def __init__(self, model: UnifiedModel, reward: Reward, *, searches: int = 1, pictures: int = 0,
                 largest_batch: int = 64, on_batch: OnBatch | None = None) -> None:  # fmt: skip
        self.model, self.reward = apart(model, searches, pictures), reward
        self.largest_batch = largest_batch
        self._on_batch = on_batch or (lambda kind, rows, seconds: None)
        self._workers: int = getattr(model, "workers", 1)
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="milr-model",
                                        initializer=getattr(model, "on_worker", None))  # fmt: skip
        self._queues: dict[str, list[Waiting]] = {kind: [] for kind in KINDS}
        self._running: set[asyncio.Task[None]] = set()
        self._deciding = False
        self._timer: asyncio.TimerHandle | None = None
        self._methods = 0
        self._waiting = 0
        self._fitting: dict[str, int] = {}  # how many requests of a kind fit into memory, where not all did
        self._meters: dict[asyncio.Task[Any] | None, Meter] = {}

    @asynccontextmanager
    async def method(self) -> AsyncIterator[Meter]:
        """Announces a running method, in the current task: batches wait for it to ask for something."""
        self._methods += 1
        task = asyncio.current_task()
        meter = self._meters[task] = Meter()
        try:
            yield meter
        finally:
            self._methods -= 1
            self._meters.pop(task, None)
            self._pump()

    async def reason(self, request: ReasonRequest) -> TextTrace:
        """Write a visualisation."""
        return cast(TextTrace, await self._ask("reason", request))

    async def draw(self, request: DrawRequest) -> ImageTrace:
        """Draw image tokens."""
        return cast(ImageTrace, await self._ask("draw", request))

    async def render(self, image: ImageTrace) -> Image:
        """Image tokens to a picture."""
        return cast("Image", await self._ask("render", image.ids))

    async def answer(self, picture: Image, question: str, room: int | None = None) -> Answer:
        """Ask the model about a picture; its answer may be `room` tokens long (None: as the model likes)."""
        return cast(Answer, await self._ask("answer", (picture, question, room)))

    async def compute(self, function: Callable[[], Any]) -> Any:
        """Run a small tensor computation on the model's thread."""
        return await self._ask("compute", function)

    async def score(self, picture: Image, prompt: Prompt, reward: Reward | None = None) -> Score:
        """Judge a picture by the search reward, or by another `reward`.

        Unscored where the judge gives up (JudgeError); what else it raises ends the run, named.
        """
        judge = reward or self.reward
        began = time.perf_counter()
        self._waiting += 1
        self._pump()
        try:
            (score,) = await judge.score([picture], [prompt], _Services(self))
            score = _checked(score, judge)
        except JudgeError as error:
            score = Score.unscored(str(error))
        except MilrError:
            raise
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            raise JudgeError(f"the reward {judge.name} broke ({why}); mend it, or choose another.") from error
        finally:
            self._waiting -= 1
        return score if score.seconds else _timed(score, time.perf_counter() - began)

    def close(self) -> None:
        """Let the workers end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if isinstance(self.model, Apart):
            self.model.close()

    async def _ask(self, kind: str, request: Any) -> Any:
        future = asyncio.get_running_loop().create_future()
        entry = (request, future)
        self._queues[kind].append(entry)
        self._waiting += 1
        self._pump()
        try:
            result, seconds = await future
            meter = self._meters.get(asyncio.current_task())
            if meter and kind in UNTOLD:
                meter.seconds += seconds
            return result
        except asyncio.CancelledError:
            if future.cancelled():  # given up before the batch came back: nobody else has counted it out
                self._waiting -= 1
                self._queues[kind] = [other for other in self._queues[kind] if other is not entry]
            raise

    def _pump(self) -> None:
        """Decide about a batch as soon as everybody who is ready now has had a turn to ask."""
        if not self._deciding:
            self._deciding = True
            asyncio.get_running_loop().call_soon(self._decide)

    def _decide(self) -> None:
        """Start a batch if everybody waits or a queue is full; else look again after a moment."""
        self._deciding = False
        while self._can_start():
            if self._waiting < self._methods and not self._full():
                if self._timer is None:
                    self._timer = asyncio.get_running_loop().call_later(LINGER, self._impatient)
                return
            self._start()

    def _can_start(self) -> bool:
        return len(self._running) < self._workers and any(self._queues.values())

    def _impatient(self) -> None:
        self._timer = None
        if self._can_start():
            self._start()

    def _full(self) -> str | None:
        return next((kind for kind, queue in self._queues.items() if len(queue) >= self._share()), None)

    def _share(self) -> int:
        """The most requests of one batch: several workers share the methods."""
        share = -(-self._methods // self._workers) if self._workers > 1 else self.largest_batch
        return min(self.largest_batch, max(1, share))

    def _start(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        kind = self._full() or next(kind for kind, queue in self._queues.items() if queue)
        share = self._share()
        batch, self._queues[kind] = self._queues[kind][:share], self._queues[kind][share:]
        self._running.add(asyncio.get_running_loop().create_task(self._run(kind, batch)))

    async def _run(self, kind: str, batch: list[Waiting]) -> None:
        began = time.perf_counter()
        requests = [request for request, _ in batch]
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._pool, self._work, kind, requests)
        except Exception as error:  # handed to every method that waits for this batch
            results = [error] * len(batch)
        self._running.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        seconds = time.perf_counter() - began
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                self._waiting -= 1
                told = (result, seconds / len(batch))
                future.set_exception(result) if isinstance(result, Exception) else future.set_result(told)
        self._on_batch(kind, len(batch), seconds)
        self._pump()

    def _work(self, kind: str, requests: Sequence[Any]) -> list[Any]:
        """On the worker thread: a result for each request, or the error that its method shall get."""
        if kind == "compute":
            return [_attempt(function) for function in requests]
        return self._fitted(kind, requests)

    def _fitted(self, kind: str, requests: Sequence[Any]) -> list[Any]:
        """As many requests at once as fit into memory: where they do not, half as many, and so from now on."""
        found: list[Any] = []
        while len(found) < len(requests):
            most = self._fitting.get(kind, len(requests))
            part = requests[len(found) : len(found) + most]
            results = self._part(kind, part)
            if results is None:
                self._back_off(kind, len(part))
            else:
                found += results
        return found

    def _back_off(self, kind: str, count: int) -> None:
        """Remember that `count` requests do not fit, tell it, and free what is only held to be quick."""
        half = self._fitting[kind] = min(count // 2, self._fitting.get(kind, count))
        logging.getLogger(__name__).warning("%s: memory does not hold %d requests at once (%s); from now on at most %d",
                                            self.model.name, count, kind, half)  # fmt: skip
        if callable(free := getattr(self.model, "free_memory", None)):
            _attempt(free)  # what it raises, the next attempt will raise, too

    def _part(self, kind: str, requests: Sequence[Any]) -> list[Any] | None:
        """A result for each request, or the error that its method shall get; None where half as many may fit."""
        results = _attempt(lambda: self._of_model(kind, requests))
        if type(results).__name__ == "OutOfMemoryError":  # torch's; this file does not load torch
            results.__traceback__ = results.__context__ = None  # whose frames hold all that the failed batch had
            if len(requests) > 1:
                return None
            results = JudgeError(f"{self.model.name} ran out of memory with one request ({kind}); a smaller model, or "
                                 "--quantise, needs less, and the same command goes on from here.")  # fmt: skip
        if isinstance(results, list) and len(results) != len(requests):
            results = JudgeError(f"{self.model.name} gave {len(results)} results for {len(requests)} requests: {kind}.")
        return results if isinstance(results, list) else [results] * len(requests)

    def _of_model(self, kind: str, requests: Sequence[Any]) -> list[Any]:
        if kind == "answer":
            return self._answers(requests)
        return list(getattr(self.model, kind)(requests))

    def _answers(self, requests: Sequence[Any]) -> list[Any]:
        """Questions that have the same room are asked together."""
        found: dict[int, Any] = {}
        for room in dict.fromkeys(request[2] for request in requests):
            places = [place for place, request in enumerate(requests) if request[2] == room]
            pictures, questions, _ = zip(*(requests[place] for place in places), strict=True)
            settings = {} if room is None else {"room": room}
            found |= zip(places, self.model.answer(pictures, questions, **settings), strict=True)
        return [found[place] for place in range(len(requests))]


class _Services:
    """What a reward may ask of the studio while a method waits for that reward."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    async def answer(self, picture: Image, question: str, room: int | None = None) -> Answer:
        """Ask the model; the waiting method is counted once, not twice."""
        self._studio._waiting -= 1
        try:
            return await self._studio.answer(picture, question, room)
        finally:
            self._studio._waiting += 1


def _attempt(function: Callable[[], Any]) -> Any:
    """The result, or the error, which is raised again in the method that asked."""
    try:
        return function()
    except StopIteration as error:  # which no future can hold
        return RuntimeError(f"StopIteration: {error}")
    except Exception as error:
        return error


def _checked(score: Score, reward: Reward) -> Score:
    """`score`, or unscored where its value is no number in [0, 1]."""
    if score.value is None or 0 <= score.value <= 1:
        return score
    return replace(score, value=None, reason=f"{reward.name} gave {score.value}, and scores lie in [0, 1]")


def _timed(score: Score, seconds: float) -> Score:
    return Score(score.value, score.parts, score.reason, score.calls, seconds)
