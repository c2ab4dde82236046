"""One thread for each judge on this machine: pictures wait in its queue, not on threads that others need meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from milr.types import MilrError, Score


class JudgeThread:
    """Judges one picture at a time, off the event loop, on a single thread that the first picture starts.

    `judge` names the judge in error messages. It can be used from several event loops, one after the other.
    """

    def __init__(self, judge: str) -> None:
        self.judge = judge
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="milr-judge")

    async def score(self, function: Callable[..., Score], *arguments: Any) -> Score:
        """The score that `function(*arguments)` returns, unscored where it raises.

        The score's `seconds` are those in which the function ran, without the time in the queue. A call that is
        cancelled while it waits in the queue never starts.
        """
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._timed, function, *arguments)

    def _timed(self, function: Callable[..., Score], *arguments: Any) -> Score:
        start = time.perf_counter()
        try:
            score = function(*arguments)
        except Exception as error:  # a judgement that could not be made is no zero, whatever went wrong
            message = str(error) if isinstance(error, MilrError) else f"{type(error).__name__}: {error}"
            score = Score.unscored(f"{self.judge} failed: {message}")
        return replace(score, seconds=time.perf_counter() - start)
