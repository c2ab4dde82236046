"""One thread for each judge on this machine: pictures wait in its queue, not on threads that others need meanwhile.

The program never waits for it: it is a daemon, a judgement that takes too long is given up, and then another thread
takes the pictures that wait behind it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from milr.base import describe_error
from milr.outside.capture_gate import PROCESS_GATE
from milr.types import MilrError, Score, UsageError

IDLE_SECONDS = 5.0  # after which the thread ends; the next picture starts another


class _Call:
    """One picture to judge: `begun` is done when its turn has come, `score` when it is judged."""

    def __init__(self, judge: Callable[[], Score]) -> None:
        self._judge = judge
        self.begun: Future[None] = Future()
        self.score: Future[Score] = Future()

    def run(self) -> None:
        """Judge the picture, unless whoever asked has given up."""
        if not self.begun.set_running_or_notify_cancel():
            return
        self.score.set_running_or_notify_cancel()
        self.begun.set_result(None)
        try:
            self.score.set_result(self._judge())
        except BaseException as error:
            self.score.set_exception(error)


class JudgeThread:
    """Judges one picture at a time, off the event loop, on a single thread that the first picture starts.

    `judge` names the judge in error messages; a judgement that takes longer than `seconds` (None: no limit) is
    unscored. It can be used from several event loops, one after the other.
    """

    def __init__(self, judge: str, seconds: float | None = None) -> None:
        self.judge, self.seconds = judge, seconds
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    async def score(self, function: Callable[..., Score], *arguments: Any) -> Score:
        """The score that `function(*arguments)` returns, unscored where it raises or takes too long.

        The score's `seconds` are those in which the function ran, without the time in the queue. A call that is
        cancelled while it waits in the queue never starts. UsageError, with file and line, where the function raises
        what is no `Exception`, as sys.exit does.
        """
        call = _Call(lambda: self._timed(function, *arguments))
        with self._lock:
            self._calls.put(call)
            self._start_thread()
        await asyncio.wrap_future(call.begun)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(call.score), self.seconds)
        except TimeoutError:
            with self._lock:
                self._thread = None  # it ends with the call that it does not get done
                if not self._calls.empty():
                    self._start_thread()
            return Score.unscored(f"{self.judge} took longer than {self.seconds:g} s (--reward-seconds)",
                                  seconds=self.seconds)  # fmt: skip

    def _start_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"milr-judge {self.judge}", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        """Judge what is in the queue until nothing comes any more, or another thread has taken over."""
        while True:
            try:
                self._calls.get(timeout=IDLE_SECONDS).run()
            except queue.Empty:
                pass
            else:
                if self._thread is threading.current_thread():
                    continue
            with self._lock:
                if self._thread is not threading.current_thread():
                    return
                if self._calls.empty():
                    self._thread = None
                    return

    def _timed(self, function: Callable[..., Score], *arguments: Any) -> Score:
        start = time.perf_counter()
        try:
            with PROCESS_GATE.judging():
                score = function(*arguments)
        except Exception as error:  # a judgement that could not be made is no zero, whatever went wrong
            message = str(error) if isinstance(error, MilrError) else f"{type(error).__name__}: {error}"
            score = Score.unscored(f"{self.judge} failed: {message}")
        except BaseException as error:
            raise UsageError(f"{self.judge} raised {describe_error(error)}: a reward returns a score or raises an "
                             "Exception; mend it.") from None  # fmt: skip
        return replace(score, seconds=time.perf_counter() - start)
