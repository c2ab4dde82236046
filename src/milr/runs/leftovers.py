"""What killed processes left in a run's folder, removed when the run goes on."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from milr.runs.files import remove_leftovers
from milr.runs.unfinished import FOLDER, remove_search


def clean_run(folder: Path, samples: Collection[str] | None, is_finished: Callable[[str], bool]) -> None:
    """Remove temporary files of run.json, prompts.jsonl and these `samples` (None: all), and answers to searches whose
    record is whole; the caller must hold the lock on them."""
    for name in ("run.json", "prompts.jsonl"):
        remove_leftovers(folder, f"{name}.*")
    for pattern in ["*"] if samples is None else [f"{name}.json.*" for name in samples]:
        remove_leftovers(folder / "records", pattern)
    for path in (folder / "images").glob("*/"):
        if samples is None or path.name in samples:
            remove_leftovers(path)
    for path in (folder / FOLDER).glob("*/"):  # of a process that was killed just after a record was whole
        if (samples is None or path.name in samples) and is_finished(path.name):
            remove_search(folder, path.name)
