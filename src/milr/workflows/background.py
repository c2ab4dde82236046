"""An event loop on a thread of its own, with work that any thread or any other loop can wait for."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Generic, TypeVar

from milr.types import UsageError

Result = TypeVar("Result")
PATIENCE = 30.0  # seconds for cancelled work to end: a batch under way is not broken off


class BackgroundLoop:
    """The thread starts with the first work; it is a daemon, so a program can end without closing it.

    Where something in the loop raises SystemExit or KeyboardInterrupt, the loop ends and all work fails with that.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._lock = threading.Lock()
        self._work: weakref.WeakSet[Work[Any]] = weakref.WeakSet()
        self.closed = self._abandoned = False

    def submit(self, work: Coroutine[Any, Any, Result]) -> Work[Result]:
        """Begin `work`; UsageError where the loop is closed."""
        with self._lock:
            if self.closed:
                work.close()
                raise UsageError("this session is closed; load another.")
            if not self._thread.ident:
                self._thread.start()
            submitted = Work(work, self._loop, self._thread)
            self._work.add(submitted)
        return submitted

    def close(self, then: Callable[[], None]) -> None:
        """Cancel all work, wait until it has ended (at most PATIENCE seconds), call `then`, and end the thread.

        UsageError on the loop's own thread, which cannot wait for itself.
        """
        refuse_own_thread(self._thread)
        with self._lock:
            closed, self.closed = self.closed, True
        if closed:
            return
        if self._thread.is_alive():
            ending = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
            concurrent.futures.wait([ending], timeout=PATIENCE)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE)
        then()
        if not self._thread.is_alive():
            self._loop.close()

    def abandon(self) -> None:
        """End the thread without waiting: for a loop whose owner is gone, so that nobody waits for its work."""
        with self._lock:
            closed, self.closed = self.closed, True
        if closed:
            return
        if self._thread.is_alive():
            self._abandoned = True
            self._loop.call_soon_threadsafe(self._loop.stop)
        else:
            self._loop.close()

    def _run(self) -> None:
        try:
            self._loop.run_forever()
            if self._abandoned:
                self._loop.run_until_complete(self._end())
                self._loop.close()
        except BaseException as error:  # the loop has ended: whoever waits must hear of it
            with self._lock:
                self.closed = True
            for work in list(self._work):
                work.fail(error)
            with suppress(BaseException):  # theirs was raised already; this lets the others end
                self._loop.run_until_complete(self._end())
            self._loop.close()

    @staticmethod
    async def _end() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Work(Generic[Result]):
    """Work under way on a background loop; whoever gives up waiting for it cancels it."""

    def __init__(self, work: Coroutine[Any, Any, Result], loop: asyncio.AbstractEventLoop,
                 thread: threading.Thread) -> None:  # fmt: skip
        self._ended, self._thread = threading.Event(), thread
        self._result: concurrent.futures.Future[Result] = concurrent.futures.Future()
        self._task = asyncio.run_coroutine_threadsafe(self._watched(work), loop)

    async def _watched(self, work: Coroutine[Any, Any, Result]) -> None:
        try:
            result = await work
        except asyncio.CancelledError:
            self.fail(UsageError("this session was closed before the call had ended."))
            raise
        except BaseException as error:
            self.fail(error)
        else:
            if not self._result.done():
                self._result.set_result(result)
        finally:
            self._ended.set()

    def fail(self, error: BaseException) -> None:
        """Let whoever waits hear that there will be no result."""
        self._ended.set()
        if not self._result.done():
            self._result.set_exception(error)

    def wait(self) -> Result:
        """The result; an interrupt cancels the work, and is raised when the work has ended."""
        refuse_own_thread(self._thread)
        try:
            return self._result.result()
        except BaseException:
            self._cancel()
            raise

    async def awaited(self) -> Result:
        """The result, in any event loop; a cancel cancels the work, too, and goes on when the work has ended."""
        try:
            return await asyncio.wrap_future(self._result)
        except BaseException:
            await self.given_up()
            raise

    async def given_up(self) -> None:
        """Cancel the work, in any event loop, and go on when it has ended."""
        if not self._ended.is_set():
            await asyncio.shield(asyncio.to_thread(self._cancel))

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Call back, on the background loop's thread, when there is a result or an error."""
        self._result.add_done_callback(lambda _: callback())

    def cancel(self) -> None:
        """Cancel the work without waiting for its end."""
        self._task.cancel()

    def _cancel(self) -> None:
        self.cancel()
        self._ended.wait(PATIENCE)


def call_in(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *arguments: object) -> bool:
    """Call back in another thread's loop, soon; False where that loop is closed."""
    try:
        loop.call_soon_threadsafe(callback, *arguments)
    except RuntimeError:
        return False
    return True


def refuse_own_thread(thread: threading.Thread) -> None:
    """UsageError where the caller is the thread itself, which would wait for itself for ever."""
    if threading.current_thread() is thread:
        raise UsageError("a session cannot be called or closed by its own callbacks and rewards: use another session.")
