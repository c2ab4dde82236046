"""stdout and stderr that fail no search: a closed pipe, a full device, an encoding that lacks a character.

What was asked for is a run's folder. Where nobody can read the output any more, the work goes on, and a sentence at the
end says so.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, cast


class _Output(io.FileIO):
    """A file descriptor that is replaced by the null device when writing to it fails; `error` says how it failed."""

    error: OSError | None = None

    def write(self, content: Any) -> int:
        """Write all or part of `content`; how many bytes."""
        try:
            return cast(int, super().write(content))
        except OSError as error:
            self.error = error
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            return len(content)


def protect_streams() -> None:
    """Replace stdout and stderr by streams to the same files that never raise; "?" for what their encoding lacks."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started the program
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - open as long as the program runs
            continue
        raw = _Output(stream.fileno(), "w", closefd=False)
        setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(raw), encoding=stream.encoding, errors="replace",
                                            line_buffering=stream.line_buffering))  # fmt: skip


def output_error() -> OSError | None:
    """How writing to the protected stdout failed, if it did."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.error if isinstance(raw, _Output) else None


def describe_lost_output(error: OSError) -> tuple[str, int]:
    """One sentence for stderr, and the exit code: 0 where the reader ended, as `head` does, else 2."""
    if error.errno == errno.EPIPE:
        return "milr: whoever read the output has ended; the work is finished, and written where it belongs.", 0
    return (f"milr: the output could not be written ({error.strerror}); the work is finished, and the same command "
            "prints its result again.", 2)  # fmt: skip
