"""A bundle: an index page, a folder for each run with its report and pictures, and pages of comparisons.

All links are relative and lead nowhere outside, so the folder works under any address and from disk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from milr.report.bundle.copies import copy_run, folder_names, remove_records, remove_steps
from milr.report.bundle.folder import check_replaceable, replaced_folder
from milr.report.bundle.groups import Groups, group_runs
from milr.report.bundle.index import ComparisonCard, RunCard, comparison_card, render_index, run_card
from milr.report.compare.export import to_csv, to_json
from milr.report.compare.page import write_page
from milr.report.compare.records import Comparison
from milr.report.html import write_report
from milr.runs.store import Record, RunFile, RunStore, StoredRecords
from milr.types import UsageError

TITLE = "Runs"


@dataclass(frozen=True)
class Bundle:
    """What was written: the index page, the number of comparisons, why runs stand alone, and damaged files by run."""

    page: Path
    comparisons: int
    alone: Mapping[Path, str]
    damaged: Mapping[Path, int]


@dataclass(frozen=True)
class _Source:
    """A run to bundle, under its name there; `records` are in the order of its prompts."""

    folder: Path
    name: str
    run: RunFile
    stored: StoredRecords
    records: list[Record]


def write_bundle(runs: Sequence[Path], out: Path, *, title: str = TITLE, all_steps: bool = False) -> Bundle:
    """Write a bundle of the run folders to `out`, and replace an earlier bundle there as a whole.

    Without `all_steps` the pictures beside the pages are the first and the returned ones; those of the steps are in the
    page of their run, for as many samples as it shows with their steps.
    UsageError where a folder holds no run or no finished sample, a run is named twice, or `out` holds anything else
    than a bundle.
    """
    if not runs:
        raise UsageError("there is nothing to bundle: name at least one run folder.")
    if len(set(runs)) < len(runs):
        twice = next(run for run in runs if list(runs).count(run) > 1)
        raise UsageError(f"{twice} is named twice: name it once.")
    check_replaceable(out.resolve(), out)
    sources = [_read(run, name) for run, name in zip(runs, folder_names(runs), strict=True)]
    groups = group_runs({source.folder: source.stored for source in sources})
    with replaced_folder(out) as site:
        for source in sources:
            _write_run(source, site / "runs" / source.name, all_steps=all_steps)
        compared = _write_comparisons(groups, {source.folder: source.name for source in sources}, site)
        cards = [_card(site, source, groups) for source in sources]
        (site / "index.html").write_text(render_index(title, compared, cards), encoding="utf-8")
    damaged = {source.folder: len(source.stored.damage) for source in sources}
    return Bundle(out / "index.html", len(compared), groups.alone, damaged)


def _read(folder: Path, name: str) -> _Source:
    store = RunStore(folder)
    run, stored = store.run(), store.read(tokens=False)
    if not stored.records:
        raise UsageError(f"{folder} has no finished sample yet: run the same command again to go on.")
    return _Source(folder, name, run, stored, store.in_prompt_order(stored.records))


def _card(site: Path, source: _Source, groups: Groups) -> RunCard:
    return run_card(site, source.name, source.run, source.records, groups.alone.get(source.folder, ""))


def _write_run(source: _Source, to: Path, *, all_steps: bool) -> None:
    """The report is written by the copy, so that whatever it links to is in the bundle."""
    copy_run(source.folder, source.records, to)
    page = write_report(to, step_links=all_steps)
    _link_back(page)
    remove_records(to)
    if not all_steps:
        remove_steps(source.records, to)


def _write_comparisons(groups: Groups, names: Mapping[Path, str], site: Path) -> list[ComparisonCard]:
    """Pictures are read from the copies of the runs, and named by their place in the bundle."""
    cards: list[ComparisonCard] = []
    for number, compared in enumerate(groups.compared, 1):
        benchmark = re.sub(r"[^a-z0-9_-]+", "-", compared.comparison.benchmark.lower()).strip("-") or "prompts"
        folder = f"comparisons/{number}-{benchmark[:40]}"
        page = write_page(_with_pictures_in(site, compared.comparison, names), site / folder / "compare.html")
        _link_back(page)
        published = _with_pictures_in(Path("../.."), compared.comparison, names)
        for name, content in (("compare.json", to_json(published)), ("compare.csv", to_csv(published))):
            (site / folder / name).write_text(content, encoding="utf-8")
        runs = [names[path] for path in compared.folders]
        cards.append(comparison_card(compared, f"{folder}/{page.name}", runs))
    return cards


def _with_pictures_in(site: Path, comparison: Comparison, names: Mapping[Path, str]) -> Comparison:
    """The comparison with its pictures where the bundle `site` has them."""

    def moved(path: Path) -> Path:
        run = next(folder for folder in path.parents if folder in names)
        return site / "runs" / names[run] / path.relative_to(run)

    examples = tuple(
        replace(example, shots=tuple(replace(shot, picture=moved(shot.picture)) for shot in example.shots))
        for example in comparison.examples
    )
    samples = tuple(
        sample._replace(pictures=tuple(each._replace(run=site / "runs" / names[each.run]) for each in sample.pictures))
        for sample in comparison.pictures
    )
    return replace(comparison, examples=examples, pictures=samples)


def _link_back(page: Path) -> None:
    """Put a link to the index, two folders up, at the head of a page."""
    link = '<nav aria-label="Bundle"><a href="../../index.html">All runs and comparisons</a></nav>'
    text = page.read_text(encoding="utf-8")
    page.write_text(re.sub("<body[^>]*>", lambda body: f"{body[0]}\n{link}", text, count=1), encoding="utf-8")
