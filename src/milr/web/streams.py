"""Server-sent events, and work that ends when its client is gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from milr.web.errors import api_error

Result = TypeVar("Result")
HEARTBEAT = 15.0  # seconds without an event, after which a comment keeps the connection open
MOST_WAITING = 8  # events that a client has not read, before no more are made ready for it
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
Message = tuple[str, Mapping[str, Any]]
Pumped = asyncio.Queue[Message | Exception | None]


async def unless_gone(request: HttpRequest, work: Awaitable[Result]) -> Result:
    """The result of `work`, which is cancelled when the client closes its connection; ClientDisconnect then."""
    task: asyncio.Future[Any] = asyncio.ensure_future(work)
    gone: asyncio.Future[Any] = asyncio.ensure_future(_until_gone(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        result: Result = task.result()
        return result
    finally:
        task.cancel()
        gone.cancel()


async def event_response(request: HttpRequest, messages: AsyncGenerator[Message, None]) -> Response:
    """The messages as a stream of events. An error before the first is raised; a later one is an event `error`."""
    queue: Pumped = asyncio.Queue(MOST_WAITING)
    pump = asyncio.create_task(_pump(messages, queue))
    try:
        first = await unless_gone(request, queue.get())
        if isinstance(first, Exception):
            raise first
    except BaseException:
        pump.cancel()
        raise
    return _EventResponse(first, queue, pump)


class _EventResponse(StreamingResponse):
    """Sends what the pump brings, and ends the pump when it is done, or when the client is gone."""

    def __init__(self, first: Message | None, queue: Pumped, pump: asyncio.Task[None]) -> None:
        super().__init__(_lines(first, queue), media_type="text/event-stream", headers=HEADERS)
        self._pump = pump

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending: asyncio.Future[Any] = asyncio.ensure_future(self.stream_response(send))
        gone: asyncio.Future[Any] = asyncio.ensure_future(_until_gone(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for task in (sending, gone, self._pump):
                task.cancel()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _pump(messages: AsyncGenerator[Message, None], queue: Pumped) -> None:
    try:
        async with aclosing(messages):
            async for message in messages:
                await queue.put(message)
        await queue.put(None)
    except Exception as error:
        await queue.put(error)


async def _lines(message: Message | None, queue: Pumped) -> AsyncIterator[str]:
    while message is not None:
        yield _line(*message)
        while True:
            try:
                following = await asyncio.wait_for(queue.get(), HEARTBEAT)
                break
            except TimeoutError:
                yield ": still at work\n\n"
        if isinstance(following, Exception):
            yield _line("error", api_error(following).body())
            return
        message = following


def _line(name: str, content: Mapping[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(content)}\n\n"
