"""Results on a terminal, and as JSON."""

from __future__ import annotations

import dataclasses
import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from milr.outside.text import printable
from milr.report.changes import NOTHING_CHANGED, describe_result
from milr.report.judges import judge_of
from milr.runs.events import Listener, Listeners
from milr.types import Outcome, Score

if TYPE_CHECKING:
    from milr.runs.config import RunConfig
    from milr.workflows.searcher import RunPlan

JSON_VERSION = 1  # "version" of every object that --json prints; it grows where a field's meaning changes
PIPE_WIDTH = 10_000  # columns where nobody looks: nothing is wrapped or cut
FINISHED = "this run is finished; showing what it found (another --seed searches again)"
COLUMN_GAP = 2
MOST_FOLDERS = 3  # that a warning names
MOST_ROWS = 40  # samples that are listed one by one


class PrintableConsole(Console):
    """A console that sends no terminal escape of a prompt, a path or a judge's words to the terminal."""

    def render_str(self, text: str, **settings: Any) -> Text:
        """The text as rich renders it, made printable."""
        return super().render_str(printable(text), **settings)


def open_console(*, stderr: bool = False) -> Console:
    """A console that prints text as it is: as wide as the terminal or COLUMNS, and without a limit in a pipe."""
    console = PrintableConsole(stderr=stderr, highlight=False, markup=False)
    if not (console.is_terminal or os.environ.get("COLUMNS", "").isdigit()):
        console.width = PIPE_WIDTH
    return console


@contextmanager
def json_alone(console: Console) -> Iterator[None]:
    """Where the console is on stderr, because JSON goes to stdout: so does what a library prints meanwhile."""
    with redirect_stdout(sys.stderr) if console.stderr else nullcontext():
        yield


def print_table(console: Console, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain table. The first column holds names: they get up to half the width, and are wrapped but never cut.

    The last columns that do not fit are left out and named under the table.
    """
    name_width = min(console.width // 2, max(map(len, (header[0], *(row[0] for row in rows)))))
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(1, len(header))]
    ends = itertools.accumulate((width + COLUMN_GAP for width in widths), initial=name_width + COLUMN_GAP)
    shown = max(2, sum(end <= console.width for end in ends))
    table = Table(*header[:shown], box=None, padding=(0, COLUMN_GAP, 0, 0))
    table.columns[0].overflow = "fold"
    table.columns[0].min_width = name_width
    for row in rows:
        table.add_row(*row[:shown])
    console.print(table)
    if shown < len(header):
        console.print(f"(too narrow for: {', '.join(header[shown:])})")


def print_warnings(console: Console, runs: Iterable[RunPlan]) -> None:
    """What the user should know before the runs, each sentence once."""
    for warning in dict.fromkeys(warning for prepared in runs for warning in prepared.warnings):
        print_warning(console, warning)


def print_warning(console: Console, sentence: str) -> None:
    """A sentence that the user should know."""
    console.print(f"warning  {sentence}", soft_wrap=True)


def listeners_for(console: Console, progress: Listener, track: str | None) -> Listeners:
    """The progress and, where one is named, a tracker; one that fails is a warning, and the run goes on."""
    from milr.workflows.tracking import make_tracker

    trackers = [make_tracker(track)] if track else []
    return Listeners(progress, *trackers, on_failure=partial(print_warning, console))


def track_finished(console: Console, folder: Path, track: str | None) -> None:
    """Write a finished run for a tracker, where one is named."""
    from milr.workflows.tracking import make_tracker, tell_of_finished

    if track:
        tell_of_finished(folder, Listeners(make_tracker(track), on_failure=partial(print_warning, console)))


def print_shard(console: Console, *folders: Path, shard: str | None) -> bool:
    """Say how far the runs are of which a shard was made; whether samples of other shards are still missing."""
    from milr.workflows.stored import count_records

    if shard is None:
        return False
    counts = [count_records(folder) for folder in folders]
    finished, total = (sum(numbers) for numbers in zip(*counts, strict=True))
    where = str(folders[0]) if len(folders) == 1 else f"{len(folders)} folders"
    console.print(f"shard    {shard} is finished; {where} has {finished} of {total} samples", soft_wrap=True)
    return finished < total


def print_damage(damaged_files: Mapping[Path, int]) -> None:
    """Say on stderr how many files of the runs are damaged, and what to do; nothing where none is."""
    damaged = {folder: number for folder, number in damaged_files.items() if number}
    if not damaged:
        return
    total = sum(damaged.values())
    folders = [printable(str(folder)) for folder in list(damaged)[:MOST_FOLDERS]]
    more = f" and {len(damaged) - MOST_FOLDERS} more" if len(damaged) > MOST_FOLDERS else ""
    typer.echo(f"warning  {total:,} damaged file{'' if total == 1 else 's'} in {', '.join(folders)}{more}: damaged "
               f"records are left out, damaged pictures are not shown. milr doctor {folders[0]} names them, and the "
               "command that made the run makes them again.", err=True)  # fmt: skip


def print_outcomes(console: Console, outcomes: Sequence[Outcome], folder: Path, config: RunConfig) -> None:
    """What became of each prompt, where the pictures are, and who judged them."""
    if len(outcomes) == 1:
        _print_outcome(console, outcomes[0], folder, config)
    else:
        _print_many(console, outcomes, config)
    console.print(f"report   {folder / 'report.html'}", soft_wrap=True)


def _print_outcome(console: Console, outcome: Outcome, folder: Path, config: RunConfig) -> None:
    from milr.report.words import STOPS

    cost = outcome.cost
    console.print(f"score    {_before_after(outcome.first_score, outcome.score)}{_reward_label(config)}")
    if outcome.judged:
        judged = _before_after(outcome.judged[0], outcome.judged[outcome.returned])
        console.print(f"judged   {judged} (by {config.report_metric})")
    console.print(f"change   {describe_result(outcome.steps, outcome.returned)}")
    console.print(f"stopped  {STOPS[outcome.stop]}")
    console.print(f"cost     {cost.pictures} pictures, {cost.token_steps} token-steps, {cost.reward_calls} reward "
                  f"calls, {cost.model_seconds:.1f} s model, {cost.reward_seconds:.1f} s reward")  # fmt: skip
    console.print(f"picture  {_picture_path(outcome, folder)}", soft_wrap=True)


def _print_many(console: Console, outcomes: Sequence[Outcome], config: RunConfig) -> None:
    rows = [(outcome.prompt.text, str(outcome.key.sample), format_score(outcome.first_score),
             format_score(outcome.score), str(len(outcome.steps)), outcome.stop)
            for outcome in outcomes[:MOST_ROWS]]  # fmt: skip
    print_table(console, ("prompt", "sample", "first", "best", "pictures", "stopped"), rows)
    for judge in sorted({judge_of(config.reward, outcome.prompt) for outcome in outcomes}):
        scores = [(outcome.first_score, outcome.score) for outcome in outcomes
                  if judge_of(config.reward, outcome.prompt) == judge]  # fmt: skip
        label = f" (search reward {judge}, its prompts alone)" if judge else _reward_label(config)
        _print_means(console, "score", scores, label)
    judged = [(outcome.judged[0], outcome.judged[outcome.returned]) for outcome in outcomes if outcome.judged]
    _print_means(console, "judged", judged, f" (by {config.report_metric})")
    drawn_again = [describe_result(outcome.steps, outcome.returned) for outcome in outcomes].count(NOTHING_CHANGED)
    if drawn_again:
        console.print(f"{drawn_again} of {len(outcomes)} returned pictures: {NOTHING_CHANGED}")


def _print_means(console: Console, what: str, pairs: Sequence[tuple[Score, Score]], label: str) -> None:
    scored = [(first.value, best.value) for first, best in pairs if first.value is not None and best.value is not None]
    if scored:
        first, best = (sum(values) / len(scored) for values in zip(*scored, strict=True))
        console.print(f"mean {what} {first:.3f} -> {best:.3f}{label}, {len(scored)} scored of {len(pairs)}")


def _reward_label(config: RunConfig) -> str:
    return (
        " (oracle: the reward that guides is also the judge)" if config.oracle else f" (search reward {config.reward})"
    )


def _before_after(first: Score, returned: Score) -> str:
    return f"{format_score(first)} -> {format_score(returned)}"


def format_score(score: Score) -> str:
    """A score with two digits, or "unscored"."""
    return "unscored" if score.value is None else f"{score.value:.2f}"


def _picture_path(outcome: Outcome, folder: Path) -> Path:
    from milr.runs.store import name_of

    return folder / "images" / name_of(outcome.prompt, outcome.key.sample) / f"{outcome.returned:03d}.png"


def outcome_to_json(outcome: Outcome, folder: Path, config: RunConfig) -> dict[str, Any]:
    """The result with every step's tokens and scores."""
    steps = [
        {"index": step.index, "score": step.score.value, "moved": list(step.moved),
         "visualisation": step.rollout.visualisation.text if step.rollout.visualisation else None,
         "text_ids": list(step.rollout.visualisation.ids) if step.rollout.visualisation else [],
         "image_ids": list(step.rollout.image.ids)}
        for step in outcome.steps
    ]  # fmt: skip
    judged = outcome.judged[outcome.returned].value if outcome.judged else None
    return {
        "version": JSON_VERSION,
        "prompt": outcome.prompt.text, "sample": outcome.key.sample, "seed": outcome.key.seed,
        "first_score": outcome.first_score.value, "score": outcome.score.value, "returned": outcome.returned,
        "stop": outcome.stop, "reward": config.reward, "oracle": config.oracle,
        "metric": config.report_metric, "judged": judged,
        "picture": str(_picture_path(outcome, folder)), "report": str(folder / "report.html"),
        "cost": dataclasses.asdict(outcome.cost), "steps": steps,
    }  # fmt: skip
