"""Files that others wrote, read within bounds: never a pipe, a device or a link to one, and never more than so much."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from milr.types import UsageError

MEBIBYTE = 2**20
_KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"),
          (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"))  # fmt: skip
_OPEN_PIPES = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")  # what a shell hands over, as `--prompts <(command)`


def read_file(path: Path, most: int, *, pipes: bool = False) -> bytes:
    """The content of an ordinary file of at most `most` bytes; `pipes` allows those that a shell has opened.

    UsageError, at once, where it is something else, is larger, or cannot be read.
    """
    try:
        if not (pipes and str(path).startswith(_OPEN_PIPES) and stat.S_ISFIFO(path.stat().st_mode)):
            check_ordinary(path)
        with open(path, "rb") as file:
            content = file.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}.") from None
    if len(content) > most:
        raise UsageError(f"{path} has more than {describe_size(most)}, the most that is read here: split it.")
    return content


def check_ordinary(path: Path) -> os.stat_result:
    """What the system says of an ordinary file; UsageError for anything else, which could block or never end.

    OSError where there is nothing.
    """
    status = path.stat()
    kind = next((name for is_kind, name in _KINDS if is_kind(status.st_mode)), "")
    if kind:
        raise UsageError(f"{path} is {kind}, not a file: name an ordinary file.")
    return status


def describe_size(num_bytes: int) -> str:
    """A number of bytes in words: "64 MiB", "500 bytes"."""
    return f"{num_bytes // MEBIBYTE} MiB" if num_bytes >= MEBIBYTE else f"{num_bytes} bytes"
