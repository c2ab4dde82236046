"""While a CUDA graph is captured, no judge on this machine uses the GPU, which would break the capture.

A judge may synchronise or empty the allocator's cache; captures of this package and judgements on its threads exclude
each other. Judges do not wait for each other, and decoding without a capture waits for nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class CaptureGate:
    """Lets either any number of judgements pass, or one capture."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._num_judging, self._is_capturing = 0, False

    @contextmanager
    def judging(self) -> Iterator[None]:
        """One judgement: waits until a capture, if one runs, is done."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_capturing)
            self._num_judging += 1
        try:
            yield
        finally:
            with self._changed:
                self._num_judging -= 1
                self._changed.notify_all()

    @contextmanager
    def capturing(self, seconds: float) -> Iterator[bool]:
        """One capture; False where others are at work for `seconds` more: then there must be none."""
        with self._changed:
            is_free = self._changed.wait_for(lambda: not (self._is_capturing or self._num_judging), seconds)
            self._is_capturing = self._is_capturing or is_free
        try:
            yield is_free
        finally:
            with self._changed:
                self._is_capturing = self._is_capturing and not is_free
                self._changed.notify_all()


PROCESS_GATE = CaptureGate()  # of the process, as its CUDA context is
