"""Ctrl-C, SIGTERM and SIGHUP: one is enough, and a run's folder stays whole whenever it comes.

While searches go on, the first signal cancels them: a record that is being written is completed, what a search was
answered is written, and the program ends with 130 (128 + the signal's number). At any other time there is nothing to
complete, and it ends at once, also in the middle of an import. So it does after a second signal, and where something,
such as a reward, does not let itself be cancelled. This file loads next to nothing: it has to be ready first.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import FrameType
from typing import Any, TypeVar

Result = TypeVar("Result")
PATIENCE = 5.0  # seconds for cancelled work to end
REPEATS = 0.5  # seconds in which a signal that comes again, as from a key held down or from a wrapper, is the same one
MESSAGE = "milr: interrupted; the same command goes on from here."
SHOW_CURSOR = b"\x1b[?25h"

_received: list[tuple[int, float]] = []  # signals with the time at which they came
_cancel: list[Callable[[], Any]] = []  # how to cancel the work that goes on, if any does


def handle_signals() -> None:
    """From now on the three signals end the program as above; those that are ignored stay so (`nohup`)."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _on_signal)


def exit_code() -> int:
    """The exit code that the signal which came first calls for; 0 where none came."""
    return 128 + _received[0][0] if _received else 0


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    """`asyncio.run(work)`, which the first signal cancels; KeyboardInterrupt when the work has ended."""
    import asyncio

    async def cancellable() -> Result:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        _cancel.append(lambda: loop.call_soon_threadsafe(task.cancel))
        try:
            return await work
        finally:
            _cancel.clear()

    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def _on_signal(number: int, frame: FrameType | None) -> None:
    _received.append((number, time.monotonic()))
    if len(_received) > 1:
        if _received[-1][1] - _received[0][1] > REPEATS:
            _end_now()
    elif _cancel:
        _cancel[0]()
        watchdog = threading.Timer(PATIENCE, _end_now)
        watchdog.daemon = True
        watchdog.start()
    else:
        _end_now()


def _end_now() -> None:
    """Say so on stderr and end, without waiting for any thread."""
    with suppress(OSError):
        os.write(2, (SHOW_CURSOR if os.isatty(2) else b"") + f"\n{MESSAGE}\n".encode())
    end(exit_code())


def end(code: int) -> None:
    """End the program with this code although threads, such as a reward's, may still be busy."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError, RuntimeError):  # RuntimeError: it was just being written to
            stream.flush()
    os._exit(code)
