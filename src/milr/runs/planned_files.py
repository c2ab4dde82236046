"""Copies and writes the files of an export into a folder, and changes or deletes no file that it does not write."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from milr.runs.files import PARTIAL, remove_leftovers
from milr.types import UsageError

TEMPORARY_PREFIX = "milr-export-"
OnProgress = Callable[[int, int], None]  # files written so far, number of all files
Plan = Mapping[str, Path | bytes]  # by relative path: the picture to copy, or the content to write
Allowed = Mapping[str, Path | bytes | None]  # None: whatever the file holds


def write_plan(plan: Plan, to: Path, on_progress: OnProgress) -> None:
    """Write every planned file that does not exist yet; UsageError where `to` holds any other file."""
    try:
        folders = _folders_of(plan)
        check_only_planned(plan, folders, to)
        for name in folders:
            (to / name).mkdir(parents=True, exist_ok=True)
            remove_leftovers(to / name, f"{TEMPORARY_PREFIX}*")
        for done, (name, content) in enumerate(plan.items(), 1):
            if not (to / name).exists():
                _write_file(to / name, _bytes(content))
            on_progress(done, len(plan))
    except OSError as error:
        raise UsageError(f"{to} cannot be written ({error.strerror or error}): mend that, or choose another --to."
                         ) from error  # fmt: skip


def _folders_of(plan: Plan) -> set[str]:
    return {".", *(str(parent) for name in plan for parent in PurePosixPath(name).parents)}


def check_only_planned(plan: Allowed, folders: set[str], to: Path) -> None:
    """UsageError where `to` holds a file that this export does not write byte for byte.

    Temporary files of an export that was killed are allowed.
    """
    for path in sorted(to.rglob("*")):
        name = path.relative_to(to)
        is_temporary = path.name.startswith(f".{TEMPORARY_PREFIX}") and path.name.endswith(PARTIAL)
        if not (is_temporary or _is_planned(path, name.as_posix(), plan, folders=folders)):
            raise UsageError(f"{to} holds {name}, which is not what this export writes there: choose an empty --to.")


def _is_planned(path: Path, name: str, plan: Allowed, *, folders: set[str]) -> bool:
    if path.is_symlink():
        return False
    if path.is_dir():
        return name in folders
    if name not in plan or not path.is_file():
        return False
    content = plan[name]
    return content is None or path.read_bytes() == _bytes(content)


def _bytes(content: Path | bytes) -> bytes:
    return content.read_bytes() if isinstance(content, Path) else content


def _write_file(path: Path, content: bytes) -> None:
    """Write to a temporary file, then rename it. Its name is short, as `path` may have the longest name allowed."""
    temporary = path.with_name(f".{TEMPORARY_PREFIX}{os.getpid()}{PARTIAL}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
