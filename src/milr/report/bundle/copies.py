"""Copies of runs in a bundle: what a report is written from, which is taken away again, and the pictures."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from milr.runs.files import DamagedError, read_bounded
from milr.runs.prompts_file import MAX_BYTES, NAME
from milr.runs.record_files import MAX_RECORD_BYTES, read_picture
from milr.runs.run_file import MAX_RUN_BYTES
from milr.runs.store import Record

MAX_NAME_LENGTH = 60


def folder_names(runs: Iterable[Path]) -> list[str]:
    """A name for each run that is safe in an address, and unique whatever the case of letters."""
    names: list[str] = []
    for run in runs:
        plain = re.sub(r"[^a-z0-9_-]+", "-", run.resolve().name.lower())[:MAX_NAME_LENGTH].strip("-") or "run"
        name, number = plain, 2
        while name in names:
            name, number = f"{plain}-{number}", number + 1
        names.append(name)
    return names


def copy_run(run: Path, records: Sequence[Record], to: Path) -> None:
    """Copy run.json, prompts and records as they are, and the undamaged pictures of `records`; no link is followed."""
    (to / "records").mkdir(parents=True)
    _copy_file(run / "run.json", to / "run.json", MAX_RUN_BYTES)
    _copy_file(run / NAME, to / NAME, MAX_BYTES)
    for path in (run / "records").glob("*.json"):
        _copy_file(path, to / "records" / path.name, MAX_RECORD_BYTES)
    for record in records:
        (to / record.first.picture).parent.mkdir(parents=True, exist_ok=True)
        for step in record.steps:
            try:
                content = read_picture(run, step)
            except DamagedError:
                continue  # the report says that it is missing
            (to / step.picture).write_bytes(content)


def _copy_file(path: Path, to: Path, limit: int) -> None:
    """Copy a plain file; one that cannot be read is left out, and the damage that its run has is told elsewhere."""
    try:
        content = read_bounded(path, limit)
    except OSError:
        return
    to.write_bytes(content)


def remove_records(folder: Path) -> None:
    """Take away what a reader of the pages does not need: run.json, prompts and records with all their tokens."""
    shutil.rmtree(folder / "records")
    for name in ("run.json", NAME):
        (folder / name).unlink(missing_ok=True)


def remove_steps(records: Iterable[Record], folder: Path) -> None:
    """Take away the pictures that are neither the first nor the returned one of their sample."""
    for record in records:
        kept = {record.first.picture, record.result.picture}
        for step in record.steps:
            if step.picture not in kept:
                (folder / step.picture).unlink(missing_ok=True)
