"""`milr generate`: search for pictures of one prompt or of a file of prompts."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from milr.cli.flags import Json, Out, Track, with_flags
from milr.cli.interrupts import run_async
from milr.options import Options
from milr.types import JudgeError, Outcome, Prompt, UsageError


@with_flags()
def generate(
    prompt: Annotated[str | None, typer.Argument(help="What to draw.", show_default=False)] = None,
    prompts: Annotated[Path | None, typer.Option(help="A file of prompts: one a line, JSON, or CSV.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first prompts of the file.")] = None,
    out: Out = None,
    track: Track = None,
    as_json: Json = False,
    *,
    options: Options,
) -> None:
    """Search for a picture that follows the prompt, and write a report. The same command resumes a run."""
    from milr.cli.console import FINISHED, open_console, outcome_to_json, print_outcomes, print_shard, track_finished
    from milr.workflows.finished import find_finished
    from milr.workflows.stored import load_run
    from milr.workflows.tracking import check_tracker
    from milr.workflows.unscored import describe_unscored

    check_tracker(track)
    chosen = _read_prompts(prompt, prompts, limit)
    console = open_console(stderr=as_json)
    if finished := find_finished(chosen, options, out, tokens=as_json):
        folder, outcomes = finished
        console.print(FINISHED)
        if not (folder / "report.html").exists():
            from milr.report.html import write_report

            write_report(folder)
        track_finished(console, folder, track)
    else:
        folder, outcomes = _search(console, chosen, options, out, track=track, tokens=as_json)
    config = load_run(folder).config
    if as_json:
        typer.echo(json.dumps([outcome_to_json(outcome, folder, config) for outcome in outcomes], indent=1))
    elif outcomes:
        print_outcomes(console, outcomes, folder, config)
    print_shard(console, folder, shard=options.shard)
    if outcomes and all(outcome.best is None for outcome in outcomes):
        raise JudgeError(describe_unscored([outcome.steps[-1].score.reason for outcome in outcomes], config.reward))


def _search(console: Console, prompts: list[Prompt], options: Options, out: Path | None, *, track: str | None,
            tokens: bool) -> tuple[Path, list[Outcome]]:  # fmt: skip
    """Make what the run's folder does not hold yet; the folder and all outcomes, with their token ids or without."""
    from milr.cli.console import json_alone, listeners_for, print_warnings
    from milr.cli.progress import Progress
    from milr.workflows.engines import ready_run
    from milr.workflows.running import default_folder, run

    with ExitStack() as stack:
        stack.enter_context(json_alone(console))
        with console.status("loading the model"):
            prepared = stack.enter_context(ready_run(prompts, options))
        print_warnings(console, [prepared])
        folder = out or default_folder(prepared)
        with Progress(console, prepared) as progress:
            outcomes = run(prepared, out=folder, tokens=tokens, listeners=listeners_for(console, progress, track))
            return folder, run_async(outcomes)


def _read_prompts(prompt: str | None, file: Path | None, limit: int | None) -> list[Prompt]:
    if (prompt is None) == (file is None):
        raise UsageError("give one prompt, or a file with --prompts.")
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1; it is {limit}.")
    from milr.workflows.prompts import read_prompts

    return [Prompt(prompt)] if prompt is not None else read_prompts(file or Path())[:limit]
