"""The studio owns the model and the reward, and turns many methods' single requests into batches.

A method awaits; its request joins the queue of its kind. When every running method waits for the studio, or a queue is
full, one queue is run as one batch on a worker thread: the fastest kind of work first, so that a method that lags
behind catches up before the others draw without it. Most models have one worker; a small one on a CPU has a worker for
each core, each in a process of its own where there is much to do, and the methods are shared out among the workers.
Judges work beside the workers. Randomness and results belong to requests, so which requests share a batch changes
nothing but speed.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from milr.base import Reward, UnifiedModel, describe_error
from milr.engine.batch_executor import BatchExecutor
from milr.engine.process_pool import ModelProcessPool, pool_if_faster
from milr.engine.services import DrawnPictures, StudioServices, image_log_probs
from milr.outside.text import clean
from milr.types import Answer, DrawRequest, ImageTrace, JudgeError, MilrError, Prompt, ReasonRequest, Score, TextTrace

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

MAX_WAIT = 0.05  # seconds that queued requests wait for a method that is busy outside the studio
KINDS = ("compute", "render", "answer", "reason", "draw")  # fastest first
UNTIMED_KINDS = ("compute", "render")  # whose results do not say how many seconds they took
QueuedRequest = tuple[Any, "asyncio.Future[Any]"]
OnBatch = Callable[[str, int, float], None]


class Meter:
    """Adds up the seconds of a method's shares in batches of UNTIMED_KINDS, until they are taken."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def take(self) -> float:
        """The seconds since the last call."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds


class Studio:
    """One model with its worker threads, one reward. `on_batch(kind, size, seconds)` is called after every batch.

    `searches` is how many methods run at once, `pictures` how many pictures all of them make at most.
    """

    def __init__(self, model: UnifiedModel, reward: Reward, *, searches: int = 1, pictures: int = 0,
                 max_batch_size: int = 64, on_batch: OnBatch | None = None) -> None:  # fmt: skip
        self.model, self.reward = pool_if_faster(model, searches, pictures), reward
        self.max_batch_size = max_batch_size
        self._on_batch = on_batch or (lambda kind, size, seconds: None)
        self._num_workers: int = getattr(model, "num_workers", 1)
        self._threads = ThreadPoolExecutor(self._num_workers, thread_name_prefix="milr-model",
                                           initializer=getattr(model, "init_worker_thread", None))  # fmt: skip
        self._executor = BatchExecutor(self.model)
        self._queues: dict[str, list[QueuedRequest]] = {kind: [] for kind in KINDS}
        self._running: set[asyncio.Task[None]] = set()
        self._is_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._num_methods = 0
        self._num_waiting = 0
        self.drawn = DrawnPictures()
        self._meters: dict[asyncio.Task[Any] | None, Meter] = {}

    @asynccontextmanager
    async def method(self) -> AsyncIterator[Meter]:
        """Registers the current task as a running method: batches wait for its requests."""
        self._num_methods += 1
        task = asyncio.current_task()
        meter = self._meters[task] = Meter()
        try:
            yield meter
        finally:
            self._num_methods -= 1
            self._meters.pop(task, None)
            self._schedule()

    def meter(self) -> Meter | None:
        """The meter of the method that the current task runs."""
        return self._meters.get(asyncio.current_task())

    # Requests

    async def reason(self, request: ReasonRequest) -> TextTrace:
        """Write a visualisation."""
        return cast(TextTrace, await self._submit("reason", request))

    async def draw(self, request: DrawRequest) -> ImageTrace:
        """Draw image tokens."""
        image = cast(ImageTrace, await self._submit("draw", request))
        return replace(image, request=request) if isinstance(image, ImageTrace) else image

    async def render(self, image: ImageTrace) -> Image:
        """Image tokens to a picture."""
        picture = cast("Image", await self._submit("render", image.ids))
        self.drawn.add(picture, image)
        return picture

    async def answer(self, picture: Image, question: str, max_new_tokens: int | None = None) -> Answer:
        """Ask the model about a picture; None leaves the answer's length to the model."""
        return cast(Answer, await self._submit("answer", (picture, question, max_new_tokens)))

    async def image_log_probs(self, request: DrawRequest, ids: Sequence[int]) -> tuple[Tensor, float]:
        """The log-probabilities (N, V) of all tokens at each position of a picture, and the seconds spent."""
        return await image_log_probs(self, request, ids)

    async def compute(self, function: Callable[[], Any]) -> Any:
        """Run a small tensor computation on the model's thread."""
        return await self._submit("compute", function)

    async def score(self, picture: Image, prompt: Prompt, reward: Reward | None = None) -> Score:
        """Judge a picture by the search reward, or by another `reward`.

        Unscored where the judge gives up (JudgeError); any other error of a judge is raised and ends the run.
        """
        judge = reward or self.reward
        start = time.perf_counter()
        self._num_waiting += 1
        self._schedule()
        try:
            (score,) = await judge.score([picture], [prompt], StudioServices(self))
            score = _checked(score, judge)
        except JudgeError as error:
            score = Score.unscored(clean(str(error)))
        except (MilrError, asyncio.CancelledError, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # sys.exit among it, which would end the event loop
            reason = describe_error(error)
            raise JudgeError(f"the reward {judge.name} broke ({reason}); mend it, or choose another.") from error
        finally:
            self._num_waiting -= 1
        return score if score.seconds else replace(score, seconds=time.perf_counter() - start)

    @contextmanager
    def asked_by_reward(self) -> Iterator[None]:
        """While a reward asks the model, the method that waits for the reward is counted once, not twice."""
        self._num_waiting -= 1
        try:
            yield
        finally:
            self._num_waiting += 1

    def close(self) -> None:
        """Let the workers end."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if isinstance(self.model, ModelProcessPool):
            self.model.close()

    async def _submit(self, kind: str, request: Any) -> Any:
        """Queue a request and wait for its result."""
        future = asyncio.get_running_loop().create_future()
        queued = (request, future)
        self._queues[kind].append(queued)
        self._num_waiting += 1
        self._schedule()
        try:
            result, seconds = await future
            meter = self.meter()
            if meter and kind in UNTIMED_KINDS:
                meter.seconds += seconds
            return result
        except asyncio.CancelledError:
            if future.cancelled():  # cancelled before the batch came back: `_run_batch` will not count it out
                self._num_waiting -= 1
                self._queues[kind] = [other for other in self._queues[kind] if other is not queued]
            raise

    # Scheduling

    def _schedule(self) -> None:
        """Start batches once every task that is ready now has had its turn to submit a request."""
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._start_batches)

    def _start_batches(self) -> None:
        """Start a batch if every method waits or a queue is full; else start one after MAX_WAIT."""
        self._is_scheduled = False
        while self._can_start():
            if self._num_waiting < self._num_methods and not self._full_queue():
                if self._timer is None:
                    self._timer = asyncio.get_running_loop().call_later(MAX_WAIT, self._on_timeout)
                return
            self._start_batch()

    def _can_start(self) -> bool:
        return len(self._running) < self._num_workers and any(self._queues.values())

    def _on_timeout(self) -> None:
        self._timer = None
        if self._can_start():
            self._start_batch()

    def _full_queue(self) -> str | None:
        batch_size = self._batch_size()
        return next((kind for kind, queue in self._queues.items() if len(queue) >= batch_size), None)

    def _batch_size(self) -> int:
        """The most requests of one batch: several workers share the methods."""
        share = -(-self._num_methods // self._num_workers) if self._num_workers > 1 else self.max_batch_size
        return min(self.max_batch_size, max(1, share))

    def _start_batch(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        kind = self._full_queue() or next(kind for kind, queue in self._queues.items() if queue)
        size = self._batch_size()
        batch, self._queues[kind] = self._queues[kind][:size], self._queues[kind][size:]
        self._running.add(asyncio.get_running_loop().create_task(self._run_batch(kind, batch)))

    async def _run_batch(self, kind: str, batch: list[QueuedRequest]) -> None:
        start = time.perf_counter()
        requests = [request for request, _ in batch]
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._threads, self._executor, kind, requests)
        except Exception as error:  # raised in every method that waits for this batch
            results = [error] * len(batch)
        self._running.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        seconds = time.perf_counter() - start
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            self._num_waiting -= 1
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result((result, seconds / len(batch)))
        self._on_batch(kind, len(batch), seconds)
        self._schedule()


def _checked(score: Score, reward: Reward) -> Score:
    """`score` with plain numbers and a printable reason; unscored where its value is no number in [0, 1]."""
    if (reason := clean(str(score.reason))) != score.reason:
        score = replace(score, reason=reason)
    if score.value is None:
        return score
    try:
        value = math.nan if isinstance(score.value, str) else float(score.value)
        parts = {str(name): float(part) for name, part in score.parts.items()}
    except (TypeError, ValueError, OverflowError, AttributeError):
        value, parts = math.nan, {}
    if 0 <= value <= 1:
        return replace(score, value=value, parts=parts)
    with_parts = f" with the parts {repr(score.parts)[:80]}" if score.parts else ""
    return replace(score, value=None, parts={}, reason=f"{reward.name} gave {repr(score.value)[:80]}{with_parts}, and "
                   "scores are numbers in [0, 1]")  # fmt: skip
