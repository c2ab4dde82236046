"""Atomic writes, bounded reads of plain files, and a lock that lets one process at a time write a folder."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from milr.types import UsageError

PARTIAL = ".partial"
LOCK = ".lock"


class DamagedError(UsageError):
    """A file that is not what was written; `str(error)` says what is wrong with it."""


class UnreadableError(DamagedError):
    """A file that may be whole, and that the system does not let us read now."""


def why_unreadable(error: OSError) -> DamagedError:
    """What an error of reading says of the file: that it is not a file of ours, or nothing (UnreadableError)."""
    of_the_file = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.EFBIG)
    kind = DamagedError if error.errno in of_the_file else UnreadableError
    return kind(f"cannot be read ({error.strerror})")


def write_atomically(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write to a temporary file, then rename it; `durable` also survives a power cut (fsync of file and folder)."""
    _replace(path, content, durable=durable)
    if durable:
        sync_folder(path.parent)


def write_durably(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write several files of one folder as `write_atomically` does with `durable`; the folder is synced once."""
    for name, content in contents.items():
        _replace(folder / name, content, durable=True)
    sync_folder(folder)


def _replace(path: Path, content: bytes, *, durable: bool) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}{PARTIAL}")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # of a folder that cannot be written: the first error is the one to tell
            temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make new names in a folder durable, where the file system supports fsync of a folder."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; each new one is durable in the folder that holds it."""
    missing = [folder]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for path in reversed(missing):
        if not path.is_dir():
            path.mkdir(exist_ok=True)
            sync_folder(path.parent)


def read_bounded(path: Path | str, limit: int) -> bytes:
    """The content of a plain file of at most `limit` bytes; OSError for a link, pipe, device, or a larger file."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link") from None
        raise
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a plain file")
        if status.st_size > limit:
            raise OSError(errno.EFBIG, f"it has more than {limit:,} bytes")
        content = os.read(handle, status.st_size + 1)  # a reader of `open` takes several times as long
        while len(content) < status.st_size and (more := os.read(handle, status.st_size - len(content))):
            content += more
        return content
    finally:
        os.close(handle)


@contextlib.contextmanager
def no_garbage() -> Iterator[None]:
    """Without the search for garbage, which takes longer than the work where thousands of objects are made and kept.

    Also a decorator. Not for work that is interrupted by other work, such as a generator or a coroutine. Of several
    threads in it, the first to leave has garbage searched for again.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def remove_leftovers(folder: Path, pattern: str = "*") -> None:
    """Delete the temporary files of a killed process in `folder`; the caller must hold the folder's lock."""
    for path in folder.glob(f".{pattern}{PARTIAL}"):
        path.unlink(missing_ok=True)


class FolderLock:
    """A lock on a folder, exclusive or on one `part` of it. The operating system releases it when the process ends.

    Several processes may hold different parts at the same time; nobody holds a part while another holds all.
    """

    def __init__(self, folder: Path, part: str = "") -> None:
        self.path, self.part = folder / LOCK, part
        self._files: list[IO[bytes]] = []

    def acquire(self) -> None:
        """Take the lock; UsageError at once where another process holds it or the file system has no locks."""
        import fcntl  # not on every system; reading a run must work there too

        shared = bool(self.part)
        try:
            self._files.append(_locked(self.path, fcntl.LOCK_NB | (fcntl.LOCK_SH if shared else fcntl.LOCK_EX)))
            if shared:
                self._files.append(_locked(self._beside(self.part), fcntl.LOCK_NB | fcntl.LOCK_EX))
        except BlockingIOError:
            self.release()
            raise UsageError(
                f"{self.path.parent} is being written by another process: wait for it to end, or choose another --out."
            ) from None
        except OSError as error:
            self.release()
            raise UsageError(
                f"{self.path.parent} cannot be locked ({error.strerror}): choose an --out on a local disk."
            ) from error

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """While the lock is held: alone among the processes that hold parts, for which this waits."""
        import fcntl

        with _locked(self._beside("alone"), fcntl.LOCK_EX) if self.part else contextlib.nullcontext():
            yield

    def release(self) -> None:
        """Release the lock; does nothing when it is not held."""
        while self._files:
            self._files.pop().close()

    def _beside(self, name: str) -> Path:
        return self.path.with_name(f"{self.path.name}-{name}")


def _locked(path: Path, operation: int) -> IO[bytes]:
    """The file at `path`, which is made, with the lock on it; OSError where there is none to be had."""
    import fcntl

    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    file = open(os.open(path, flags, 0o666), "ab")  # noqa: SIM115 - stays open while the lock is held
    try:
        fcntl.flock(file, operation)
    except OSError:
        file.close()
        raise
    return file
