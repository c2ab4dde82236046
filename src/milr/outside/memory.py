"""Which errors mean that memory is used up: Python, torch, and the system's loader each have their own."""

from __future__ import annotations

import errno

_SAID_SO = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "bad_alloc",
            "failed to map segment", "can't start new thread", "status_alloc_failed")  # fmt: skip


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory, of the machine or of the device."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    text = str(error).lower()
    return isinstance(error, (RuntimeError, OSError, ImportError)) and any(words in text for words in _SAID_SO)
