"""An interrupted search goes on: its method runs again from its start, and is answered at once what it was answered.

A method is a program whose only expensive steps are requests to the studio. So nothing of its inner state is written
down, only what model and reward answered (`runs/unfinished.py`): the method, run again, comes to the same tensors and
asks the same requests, and those that it asked before cost nothing. This works for every method, also for those of
third parties. A request that was not asked before, for whatever reason, is simply a new one.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from milr.base import Method
from milr.engine.services import image_log_probs
from milr.engine.studio import Studio
from milr.runs.unfinished import AnsweredRequest, UnfinishedSearch
from milr.types import Answer, DrawRequest, ImageTrace, Key, Prompt, ReasonRequest, Score, Step, TextTrace

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

Result = TypeVar("Result")


def resumable(method: Method, unfinished: UnfinishedSearch) -> Method:
    """The method, which goes on from what `unfinished` holds, and writes there what it is answered.

    What is not written yet is written when the search is cancelled or fails.
    """

    async def resumed(studio: Studio, prompt: Prompt, key: Key) -> AsyncIterator[Step]:
        replay = ReplayStudio(studio, unfinished)
        try:
            async with aclosing(method(replay, prompt, key)) as steps:  # type: ignore[type-var]
                async for step in steps:
                    yield step
        except (Exception, asyncio.CancelledError):
            unfinished.save()
            raise

    return cast(Method, resumed)


class ReplayStudio:
    """The studio as one search sees it: a request that an earlier run of the search had answered is not run again.

    Small tensor computations are run again: they take no time, and give the same tensors.
    """

    def __init__(self, studio: Studio, unfinished: UnfinishedSearch) -> None:
        self._studio, self._unfinished = studio, unfinished

    def __getattr__(self, name: str) -> Any:
        return getattr(self._studio, name)

    async def reason(self, request: ReasonRequest) -> TextTrace:
        """Write a visualisation."""
        if request.noise is not None:
            return await self._studio.reason(request)
        return await self._ask("reason", repr(request), lambda: self._studio.reason(request))

    async def draw(self, request: DrawRequest) -> ImageTrace:
        """Draw image tokens."""
        if request.noise is not None:
            return await self._studio.draw(request)
        image = await self._ask("draw", repr(request), lambda: self._studio.draw(request))
        return replace(image, request=request) if isinstance(image, ImageTrace) else image

    async def image_log_probs(self, request: DrawRequest, ids: Sequence[int]) -> tuple[Tensor, float]:
        """The log-probabilities (N, V) at each position, from latents that come back as they were."""
        return await image_log_probs(self, request, ids)  # type: ignore[arg-type]

    async def render(self, image: ImageTrace) -> Image:
        """Image tokens to a picture."""
        picture = await self._ask("render", repr(image.ids), lambda: self._studio.render(image))
        self._studio.drawn.add(picture, image)
        return picture

    async def answer(self, picture: Image, question: str, max_new_tokens: int | None = None) -> Answer:
        """Ask the model about a picture."""
        request = f"{_describe(picture)}{max_new_tokens}\0{question}"
        return await self._ask("answer", request, lambda: self._studio.answer(picture, question, max_new_tokens))

    async def score(self, picture: Image, prompt: Prompt) -> Score:
        """Judge a picture; one that could not be judged is judged again when the search goes on."""
        request = f"{_describe(picture)}{prompt.id}\0{prompt.text}"
        return await self._ask("score", request, lambda: self._studio.score(picture, prompt))

    async def _ask(self, kind: str, request: str, ask: Callable[[], Awaitable[Result]]) -> Result:
        """The result that an earlier run got, else the studio's, which is remembered."""
        digest, meter = hashlib.sha256(request.encode(errors="surrogatepass")).hexdigest(), self._studio.meter()
        if answered := self._unfinished.take(kind, digest):
            if meter:
                meter.seconds += answered.seconds
            return cast(Result, answered.result)
        before = meter.seconds if meter else 0.0
        result = await ask()
        if not (isinstance(result, Score) and result.value is None):
            seconds = meter.seconds - before if meter else 0.0
            self._unfinished.add(AnsweredRequest(kind, digest, cast(Any, result), seconds))
        if self._unfinished.is_due:
            await asyncio.to_thread(self._unfinished.save)
        return result


def _describe(picture: Image) -> str:
    return f"{picture.mode}{picture.size}{hashlib.sha256(picture.tobytes()).hexdigest()}\0"
