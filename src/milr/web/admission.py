"""How many requests work at once, and how many may wait: first come, first served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from milr.web.errors import ApiError
from milr.web.limits import Limits
from milr.web.metrics import Metrics


class Admission:
    """Places for requests at work."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._limits, self._metrics = limits, metrics
        self._places = asyncio.Semaphore(limits.active)
        self._inside = 0

    def check(self) -> None:
        """ApiError 429 where too many wait."""
        if self._inside >= self._limits.active + self._limits.waiting:
            raise ApiError("this server is busy; try again in a few seconds.", status=429, code="server_busy")

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place, and keep it for the block; ApiError 429 where too many wait."""
        self.check()
        self._inside += 1
        try:
            with self._metrics.waiting.track_inprogress():
                await self._places.acquire()
            try:
                with self._metrics.active.track_inprogress():
                    yield
            finally:
                self._places.release()
        finally:
            self._inside -= 1
