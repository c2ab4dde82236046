"""A judge's own thread: pictures wait in its queue, and not in threads that others need to get on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from milr.types import MilrError, Score


class Worker:
    """Judges one picture after the other, away from the event loop, on a thread that the first of them starts.

    `judge` is what failures are told of. Usable from one event loop after another.
    """

    def __init__(self, judge: str) -> None:
        self.judge = judge
        self._queue = ThreadPoolExecutor(1, thread_name_prefix="milr-judge")

    async def score(self, work: Callable[..., Score], *given: Any) -> Score:
        """What `work` says, with the seconds that it took, waiting not among them; unscored where it raises.

        Work that nobody waits for any longer is not begun.
        """
        return await asyncio.get_running_loop().run_in_executor(self._queue, self._timed, work, *given)

    def _timed(self, work: Callable[..., Score], *given: Any) -> Score:
        start = time.perf_counter()
        try:
            score = work(*given)
        except Exception as error:  # a judgement that could not be made is no zero, whatever went wrong
            why = str(error) if isinstance(error, MilrError) else f"{type(error).__name__}: {error}"
            score = Score.unscored(f"{self.judge} failed: {why}")
        return replace(score, seconds=time.perf_counter() - start)
