"""Which runs of a bundle are compared with each other, and why the others are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from milr.report.compare.comparable import check_comparable
from milr.report.compare.comparison import compare
from milr.report.compare.records import Comparison
from milr.report.compare.rows import LoadedRun, Row, load_rows
from milr.report.words import count
from milr.runs.store import StoredRecords
from milr.types import UsageError


@dataclass(frozen=True)
class ComparedRuns:
    """A comparison with the folders of its runs, in the order of its rows."""

    comparison: Comparison
    folders: tuple[Path, ...]


@dataclass(frozen=True)
class Groups:
    """All comparisons, and for each run that is in none, by its folder, the reason in one sentence."""

    compared: tuple[ComparedRuns, ...]
    alone: Mapping[Path, str]


def group_runs(stored: Mapping[Path, StoredRecords]) -> Groups:
    """Compare the finished runs of each benchmark that are comparable; `stored` are the records by run folder.

    UsageError where one run is named twice.
    """
    rows = load_rows(stored, stored=stored)
    alone: dict[Path, str] = {}
    sets: list[list[Row]] = []
    for row in rows:
        unfinished = [loaded for loaded in row.runs if loaded.missing > 0]
        alone |= {loaded.folder: _unfinished(loaded) for loaded in unfinished}
        finished = tuple(loaded for loaded in row.runs if loaded.missing <= 0)
        if finished:
            _add(Row(row.name, finished), sets, alone)
    compared = []
    for group in sets:
        folders = [loaded.folder for row in group for loaded in row.runs]
        if len(folders) > 1 and (comparison := _compare(folders, stored, alone)):
            compared.append(ComparedRuns(comparison, tuple(folders)))
    in_one = {folder for each in compared for folder in each.folders}
    for folder in stored:
        if folder not in in_one and len(stored) > 1:
            alone.setdefault(folder, "No other run here has the same benchmark and prompts.")
    return Groups(tuple(compared), {folder: why for folder, why in alone.items() if folder not in in_one})


def _unfinished(loaded: LoadedRun) -> str:
    return f"Not compared: {count(loaded.missing, 'sample')} of {loaded.run.num_samples:,} are not finished."


def _add(row: Row, sets: list[list[Row]], alone: dict[Path, str]) -> None:
    """Put the row into the first set it is comparable with; else into a new one, with the reason of the last refusal
    by a set of its own benchmark."""
    for group in sets:
        if group[0].config.benchmark != row.config.benchmark:
            continue
        try:
            check_comparable([*group, row])
        except UsageError as error:
            alone |= {loaded.folder: f"Not compared: {error}" for loaded in row.runs}
        else:
            group.append(row)
            return
    sets.append([row])


def _compare(folders: Sequence[Path], stored: Mapping[Path, StoredRecords], alone: dict[Path, str]
             ) -> Comparison | None:  # fmt: skip
    """The comparison of these runs alone, so that its rows are named by what they differ in."""
    try:
        return compare(load_rows(folders, stored=stored))
    except UsageError as error:
        alone |= {folder: f"Not compared: {error}" for folder in folders}
        return None
