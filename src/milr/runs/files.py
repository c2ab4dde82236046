"""Atomic writes of files, and a lock that lets one process at a time write a folder."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import IO

from milr.types import UsageError

PARTIAL = ".partial"


def write_atomically(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write to a temporary file, then rename it; `durable` also survives a power cut (fsync of file and folder)."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}{PARTIAL}")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable where the file system supports fsync of a folder."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_leftovers(folder: Path, pattern: str = "*") -> None:
    """Delete the temporary files of a killed process in `folder`; the caller must hold the folder's lock."""
    for path in folder.glob(f".{pattern}{PARTIAL}"):
        path.unlink(missing_ok=True)


class FolderLock:
    """An exclusive lock on a folder. The operating system releases it when the process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"
        self._file: IO[bytes] | None = None

    def acquire(self) -> None:
        """Take the lock; UsageError at once where another process holds it or the file system has no locks."""
        import fcntl  # not on every system; reading a run must work there too

        file = open(self.path, "ab")  # noqa: SIM115 - stays open while the lock is held
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise UsageError(
                f"{self.path.parent} is being written by another process: wait for it to end, or choose another --out."
            ) from None
        except OSError as error:
            file.close()
            raise UsageError(
                f"{self.path.parent} cannot be locked ({error.strerror}): choose an --out on a local disk."
            ) from error
        self._file = file

    def release(self) -> None:
        """Release the lock; does nothing when it is not held."""
        if self._file is not None:
            self._file.close()
            self._file = None
