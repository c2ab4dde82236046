"""A class for Ray's workers that loads nothing: it adds numbers, and can end its own process."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from milr.types import JudgeError


class Adder:
    """Replies as workers do. `started` is a folder in which each one that starts leaves a file."""

    def __init__(self, started: str) -> None:
        (Path(started) / str(os.getpid())).touch()

    async def describe(self) -> tuple[object, Exception | None]:
        """Its process."""
        return os.getpid(), None

    async def add(self, number: int, seconds: float = 0.0) -> tuple[object, Exception | None]:
        """One more, after some time."""
        await asyncio.sleep(seconds)
        return number + 1, None

    async def fail(self) -> tuple[object, Exception | None]:
        """A failure of the work, not of the worker."""
        return None, JudgeError("the judge is gone.")

    async def end_once(self, marker: str) -> tuple[object, Exception | None]:
        """End the process, unless a worker did so before."""
        if not Path(marker).exists():
            Path(marker).touch()
            os.kill(os.getpid(), 9)
        return "done", None

    async def end(self) -> tuple[object, Exception | None]:
        """End the process."""
        os.kill(os.getpid(), 9)
        return None, None
