"""The command line. Thin: it reads options, shows progress, prints results; everything else is elsewhere."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from milr import __version__, catalog
from milr.cli import bench
from milr.cli.bench import Json, Out
from milr.cli.flags import with_options
from milr.options import Options
from milr.types import JudgeError, MilrError, Prompt, UsageError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
                  help="Better pictures from a unified text-and-image model, by reasoning in its latent space at test "
                       "time (MILR).")  # fmt: skip


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Show the version and stop.")] = False) -> None:
    if version:
        typer.echo(f"milr {__version__}")
        raise typer.Exit


@app.command()
@with_options()
def generate(
    options: Options,
    prompt: Annotated[str | None, typer.Argument(help="What to draw.", show_default=False)] = None,
    prompts: Annotated[Path | None, typer.Option(help="A file of prompts, one a line (or JSON lines).")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first prompts of the file.")] = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Search for a picture that follows the prompt, and write a report. The same command resumes a run."""
    from milr.cli.console import as_json as told
    from milr.cli.console import tell
    from milr.cli.progress import Progress
    from milr.workflows.prepare import prepare
    from milr.workflows.running import default_folder, run

    texts = _texts(prompt, prompts, limit)
    console = Console(stderr=as_json, highlight=False, markup=False)
    with console.status("loading the model"):
        prepared = prepare(texts, options)
    folder = out or default_folder(prepared)
    with Progress(console, prepared) as progress:
        outcomes = asyncio.run(run(prepared, out=folder, on_step=progress.on_step, on_event=progress.on_event))
    if as_json:
        typer.echo(json.dumps([told(outcome, folder, prepared) for outcome in outcomes], indent=1))
    else:
        tell(console, outcomes, folder, prepared)
    if all(outcome.best is None for outcome in outcomes):
        why = outcomes[0].steps[-1].score.reason
        raise JudgeError(f"no picture could be judged ({why}): mend that, and the same command asks again.")


def _texts(prompt: str | None, prompts: Path | None, limit: int | None) -> list[Prompt]:
    if (prompt is None) == (prompts is None):
        raise UsageError("give one prompt, or a file with --prompts.")
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1; it is {limit}.")
    from milr.workflows.prompts import read_prompts

    return [Prompt(prompt)] if prompt is not None else read_prompts(prompts or Path())[:limit]


for command in bench.COMMANDS:
    app.command()(command)


@app.command()
def report(run: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Write a run's report.html, report.json and table.csv again."""
    from milr.report.html import write_report

    typer.echo(write_report(run))


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    layout: Annotated[str, typer.Option(help="geneval, t2i-compbench or wise.")],
    to: Annotated[Path, typer.Option(help="Where the pictures go: a new folder.")],
    picture: Annotated[str, typer.Option(help="returned, first or last.")] = "returned",
    keep_stop: Annotated[bool, typer.Option(help="Keep a prompt's final full stop in t2i-compbench names.")] = True,
) -> None:
    """Copy a run's pictures into the folders that a benchmark's official evaluator reads."""
    from milr.runs import layouts
    from milr.runs.store import RunStore

    catalog.one_of("picture", picture, list(layouts.PICTURES))
    store = RunStore(run)
    store.run()
    tally = layouts.export(run, store.prompts(), store.records(), layout=layout, to=to, picture=picture,  # type: ignore[arg-type]
                           keep_stop=keep_stop)  # fmt: skip
    missing = f"; {tally.missing} samples are not finished and are left out" if tally.missing else ""
    typer.echo(f"{tally.pictures} pictures in {tally.folder}{missing}")


@app.command("list")
def list_parts(
    kind: Annotated[str | None, typer.Argument(help="models, rewards, methods or benchmarks.")] = None,
) -> None:
    """Show what can be chosen. A search stops above a reward's threshold; every score lies between 0 and 1."""
    kinds = [catalog.one_of("kind", kind, list(catalog.KINDS))] if kind else list(catalog.KINDS)
    console = Console(highlight=False, markup=False)
    for name in kinds:
        stops = ["threshold"] if name == "rewards" else []
        table = Table(name, "what it is", *stops, "needs", "licence", box=None, padding=(0, 2, 0, 0))
        for part, entry in catalog.menu(name).items():
            above = ["" if entry.threshold is None else f"{entry.threshold:g}"] if stops else []
            table.add_row(part, entry.summary, *above, entry.needs, entry.licence)
        console.print(table)
        console.print()


@app.command()
def doctor(
    fetch: Annotated[str | None, typer.Option(help="Fetch what this reward needs: its weights, spaCy's model.")] = None,
) -> None:
    """Check what runs on this machine, the rewards among it."""
    from milr.workflows.doctor import fetch_for, findings

    console = Console(highlight=False, markup=False)
    if fetch:
        fetch_for(catalog.one_of("reward", fetch, list(catalog.REWARDS)), console.print)
    lines = findings()
    for line in lines:
        console.print(f"{'ok     ' if line.ok else 'missing'}  {line.what}", soft_wrap=True)
    if not all(line.ok for line in lines if line.needed):
        raise typer.Exit(3)


def main() -> None:
    """The entry point: errors are one sentence on stderr, with the exit code that says whose they are."""
    try:
        app(standalone_mode=True)
    except MilrError as error:
        typer.echo(f"milr: {error}", err=True)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        typer.echo(f"milr: the package {error.name} is missing; install milr again.", err=True)
        sys.exit(3)
    except SystemExit as stop:  # typer makes of an interrupt an exit with 130
        if stop.code == 130:
            typer.echo("milr: interrupted; the same command goes on from here.", err=True)
        raise
