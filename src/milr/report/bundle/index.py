"""The first page of a bundle: a card for each comparison and for each run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from milr.report import words
from milr.report.bundle.groups import ComparedRuns
from milr.report.compare import sentences, tables
from milr.report.compare.records import MeanScore
from milr.report.page_template import render_template
from milr.report.summary import Scores, summarise
from milr.runs.config import RunConfig
from milr.runs.store import Record, RunFile


@dataclass(frozen=True)
class RunCard:
    """A run on the first page; addresses are relative to it. `picture` is "" where none is whole.

    `scores` are name and value; `alone` says why the run is in no comparison ("": it is in one, or there is no other).
    """

    name: str
    about: str
    scores: tuple[tuple[str, str], ...]
    report: str
    files: tuple[tuple[str, str], ...]
    picture: str
    alt: str
    alone: str = ""


@dataclass(frozen=True)
class ComparisonCard:
    """A comparison on the first page: its rows with their scores, and links to its page and its runs' reports."""

    title: str
    verdict: str
    headline: str
    rows: tuple[tuple[str, str], ...]
    page: str
    runs: tuple[tuple[str, str], ...]


def render_index(title: str, comparisons: Sequence[ComparisonCard], runs: Sequence[RunCard]) -> str:
    """The page as text."""
    return render_template("bundle.html.j2", title=title, comparisons=comparisons, runs=runs)


def run_card(site: Path, name: str, run: RunFile, records: Sequence[Record], alone: str) -> RunCard:
    """The card of the run whose copy is in `site`/runs/`name`; `records` are in the order of the prompts."""
    folder = f"runs/{name}"
    shown = next((record for record in records if (site / folder / record.result.picture).is_file()), None)
    files = [file for file in ("table.csv", "report.json") if (site / folder / file).is_file()]
    return RunCard(
        name=name,
        about=_about(run, records),
        scores=_scores(run.config, records),
        report=f"{folder}/report.html",
        files=tuple((file, f"{folder}/{file}") for file in files),
        picture=f"{folder}/{shown.result.picture}" if shown else "",
        alt=shown.prompt.text if shown else "",
        alone=alone,
    )


def _about(run: RunFile, records: Sequence[Record]) -> str:
    config = run.config
    where = f" on {config.benchmark}" if config.benchmark else ""
    prompts = words.count(len({(record.prompt.id, record.prompt.text) for record in records}), "prompt")
    finished = words.count(len(records), "sample")
    if run.num_samples > len(records):
        finished += f" of {run.num_samples:,}"
    return f"{config.label or config.method}{where}, model {config.model}, {prompts}, {finished}, seed {config.seed}"


def _scores(config: RunConfig, records: Sequence[Record]) -> tuple[tuple[str, str], ...]:
    """The mean scores of the returned pictures, first the report metric's where there is one."""
    summary = summarise(records)
    reward = f"{config.reward} ({'it guided and judges' if config.oracle else 'it guided the search'})"
    if config.command == "score":
        reward = config.reward
    pairs: list[tuple[str, Scores | None]] = [
        (config.report_metric, summary.judged_returned), (reward, summary.returned),
    ]  # fmt: skip
    return tuple((name, words.scores(scores)) for name, scores in pairs if scores)


def comparison_card(compared: ComparedRuns, page: str, names: Sequence[str]) -> ComparisonCard:
    """The card of a comparison whose page is at `page`; `names` are those of its runs."""
    comparison = compared.comparison
    rows = [(row.title, _overall(row.overall.returned)) for row in comparison.rows]
    return ComparisonCard(
        title=sentences.title(comparison),
        verdict=sentences.verdict(comparison)[0],
        headline=sentences.headline(comparison),
        rows=tuple(rows),
        page=page,
        runs=tuple((name, f"runs/{name}/report.html") for name in names),
    )


def _overall(mean: MeanScore) -> str:
    """The score with its interval; where pictures are unscored also how many were scored."""
    score = f"{tables.number(mean.score)} {tables.brackets(mean.interval)}".strip()
    return score if mean.scored == mean.n else f"{score}, {mean.scored} scored of {mean.n}"
