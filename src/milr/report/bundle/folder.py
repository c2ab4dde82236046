"""Replaces a folder as a whole: a new one is written beside it, and takes its place when it is complete."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from milr.inputs.json_text import JsonError, parse_json
from milr.runs.files import FolderLock, read_bounded
from milr.types import UsageError

MARKER = "bundle.json"  # lists every file of the folder, so that a folder with any other is left alone
VERSION = 1
MAX_MARKER_BYTES = 2**26
SUFFIX = ".milr-bundle"
LOCK = ".lock"


@contextlib.contextmanager
def replaced_folder(out: Path) -> Iterator[Path]:
    """A new, empty folder to write into, which becomes `out` at the end; where the work raises, `out` stays as it was.

    UsageError where `out` exists and is neither empty nor a folder that this has written.
    """
    target = out.resolve()
    if not target.name:
        raise UsageError(f"{out} cannot be written: name a new folder with --out.")
    staging = target.with_name(f".{target.name}{SUFFIX}")
    check_replaceable(target, out)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if staging.is_symlink():
            raise UsageError(f"{staging} is a link: move it away, or choose another --out.")
        staging.mkdir(exist_ok=True)
        lock = FolderLock(staging)
        lock.acquire()
    except OSError as error:
        raise _unwritable(out, error) from error
    try:
        _empty(staging)  # of what a killed process left
        yield staging
        _write_marker(staging)
        check_replaceable(target, out)
        _swap(staging, target)
    except OSError as error:
        raise _unwritable(out, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        lock.release()


def _unwritable(out: Path, error: OSError) -> UsageError:
    return UsageError(f"{out} cannot be written ({error.strerror or error}): mend that, or choose another --out.")


def check_replaceable(target: Path, shown: Path) -> None:
    """UsageError where `target`, which the user knows as `shown`, holds a file that no bundle has written."""
    if not target.exists():
        return
    if not target.is_dir():
        raise UsageError(f"{shown} is a file: name a new folder with --out.")
    written = _written_files(target)
    for path in sorted(target.rglob("*")):
        name = path.relative_to(target).as_posix()
        if path.is_symlink() or (not path.is_dir() and name not in written):
            raise UsageError(f"{shown} holds {name}, which milr bundle has not written and would delete: move it away, "
                             "or choose another --out.")  # fmt: skip


def _written_files(folder: Path) -> set[str]:
    """The files that the marker in `folder` lists, and the marker; empty where there is none."""
    try:
        marker = parse_json(read_bounded(folder / MARKER, MAX_MARKER_BYTES).decode())
    except (OSError, JsonError, UnicodeDecodeError):
        return set()
    files = marker.get("files") if isinstance(marker, dict) and marker.get("milr bundle") == VERSION else None
    return {MARKER, *map(str, files)} if isinstance(files, list) else set()


def _write_marker(folder: Path) -> None:
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    content = {"milr bundle": VERSION, "files": [name for name in files if name != LOCK]}
    (folder / MARKER).write_text(json.dumps(content, indent=1), encoding="utf-8")


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def _swap(staging: Path, target: Path) -> None:
    """Two renames: a process that is killed between them leaves the earlier folder under a hidden name beside it."""
    before = target.with_name(f".{target.name}{SUFFIX}-before")
    if before.is_dir() and not before.is_symlink():
        shutil.rmtree(before)
    (staging / LOCK).unlink()
    if target.exists():
        target.rename(before)
    try:
        staging.rename(target)
    except OSError:
        if before.exists():
            before.rename(target)
        raise
    shutil.rmtree(before, ignore_errors=True)
