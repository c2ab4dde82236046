"""An event loop on a thread of its own, with work that any thread or any other loop can wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from milr.types import UsageError

Result = TypeVar("Result")


class BackgroundLoop:
    """The thread starts with the first work; it is a daemon, so a program can end without closing it."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._lock = threading.Lock()
        self.closed = False

    def submit(self, work: Coroutine[Any, Any, Result]) -> Work[Result]:
        """Begin `work`; UsageError where the loop is closed."""
        with self._lock:
            if self.closed:
                work.close()
                raise UsageError("this session is closed; load another.")
            if not self._thread.ident:
                self._thread.start()
        return Work(work, self._loop)

    def close(self, then: Callable[[], None]) -> None:
        """Cancel all work, wait until it has ended, call `then` on the loop, and end the thread."""
        with self._lock:
            closed, self.closed = self.closed, True
        if closed:
            return
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._end(then), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    @staticmethod
    async def _end(then: Callable[[], None]) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        then()


class Work(Generic[Result]):
    """Work under way on a background loop; whoever gives up waiting for it cancels it."""

    PATIENCE = 30.0  # seconds for cancelled work to end: a batch under way is not broken off

    def __init__(self, work: Coroutine[Any, Any, Result], loop: asyncio.AbstractEventLoop) -> None:
        self._ended = threading.Event()
        self._future = asyncio.run_coroutine_threadsafe(self._watched(work), loop)

    async def _watched(self, work: Coroutine[Any, Any, Result]) -> Result:
        try:
            return await work
        finally:
            self._ended.set()

    def wait(self) -> Result:
        """The result; an interrupt cancels the work, and is raised when the work has ended."""
        try:
            return self._future.result()
        except BaseException:
            self._cancel()
            raise

    async def awaited(self) -> Result:
        """The result, in any event loop; a cancel cancels the work, too, and goes on when the work has ended."""
        try:
            return await asyncio.wrap_future(self._future)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(self._cancel))
            raise

    def _cancel(self) -> None:
        self._future.cancel()
        self._ended.wait(self.PATIENCE)
