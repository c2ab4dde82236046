"""The command line. Thin: it reads options, shows progress, prints results; everything else is elsewhere."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from milr import __version__, catalog
from milr.flags import with_options
from milr.options import Options, read_prompts
from milr.types import JudgeError, MilrError, Prompt, UsageError

if TYPE_CHECKING:
    from milr.experiments import Experiment, Job
    from milr.prepared import Prepared

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
                  help="Better pictures from a unified text-and-image model, by reasoning in its latent space at test "
                       "time (MILR).")  # fmt: skip
Out = Annotated[Path | None, typer.Option(help="Run folder. Default: runs/WORDS-DIGEST.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


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
    from milr.api import default_folder, run
    from milr.prepared import prepare
    from milr.progress import Progress
    from milr.telling import as_json as told
    from milr.telling import tell

    texts = _texts(prompt, prompts, limit)
    console = Console(stderr=as_json, highlight=False, markup=False)
    with console.status("loading the model"):
        calm_threads(options.model)
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
        raise JudgeError(f"no picture could be judged ({why}): mend the reward, or choose another --reward and --out.")


def _texts(prompt: str | None, prompts: Path | None, limit: int | None) -> list[Prompt]:
    if (prompt is None) == (prompts is None):
        raise UsageError("give one prompt, or a file with --prompts.")
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1; it is {limit}.")
    return [Prompt(prompt)] if prompt is not None else read_prompts(prompts or Path())[:limit]


def calm_threads(model: str) -> None:
    """nano's steps are too small to share: two threads that wait for each other are slower than one."""
    if model == "nano":
        import torch

        torch.set_num_threads(1)


@app.command()
@with_options("visualisation")
def bench(
    options: Options,
    benchmark: Annotated[str, typer.Argument(help="A name from `milr list benchmarks`.")],
    split: Annotated[str, typer.Option(help="Which prompts: test, development, hard or hard-development.")] = "test",
    categories: Annotated[str | None, typer.Option(help="Only these, with commas between them.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only so many prompts, spread evenly over the list.")] = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Run a method on a benchmark, and print its scores with intervals. The same command resumes."""
    from milr.api import default_folder
    from milr.benchmarks.selection import chosen
    from milr.experiments import Job
    from milr.prepared import prepare

    console = Console(stderr=as_json, highlight=False, markup=False)
    made = catalog.make_benchmark(benchmark, split=split)
    prompts = chosen(made.prompts(), [name.strip() for name in categories.split(",")] if categories else (), limit)
    options = dataclasses.replace(options, metric=options.metric or made.metric)
    with console.status("loading the model"):
        calm_threads(options.model)
        prepared = prepare(prompts, options, benchmark=benchmark)
    job = Job(options.method, options.seed, out or default_folder(prepared))
    work_off_jobs(console, [(job, prepared)])
    tell_comparison(console, [job.folder], job.folder, as_json=as_json)


@app.command()
def experiment(
    file: Annotated[Path, typer.Argument(help="A TOML file such as those in experiments/.")],
    out: Annotated[Path | None, typer.Option(help="Folder of all runs. Default: runs/NAME-OF-THE-FILE.")] = None,
    row: Annotated[list[str] | None, typer.Option(help="Only this row, without a table; can be repeated.")] = None,
    model: Annotated[str | None, typer.Option(help="Another model than the file names.")] = None,
    in_flight: Annotated[int | None, typer.Option(help="Searches at the same time. Default: the file's.")] = None,
    dry: Annotated[bool, typer.Option("--dry", help="Only say what it would cost.")] = False,
    as_json: Json = False,
) -> None:
    """Run all rows of an experiment file on the same prompts and seeds, and compare them. The same command resumes."""
    from milr.experiments import jobs, prepared_jobs, read

    console = Console(stderr=as_json, highlight=False, markup=False)
    told, folder = read(file), out or Path("runs") / file.stem
    replaced = {name: value for name, value in (("in_flight", in_flight), ("model", model)) if value is not None}
    calm_threads(str(model or told.base.get("model", "nano")))
    todo = jobs(told, folder, tuple(row or ()))
    console.print(f"{told.title}: {len(todo)} runs into {folder}", soft_wrap=True)
    work_off_jobs(console, list(prepared_jobs(told, todo, **replaced)), dry=dry)
    if not (dry or row):
        if told.agreement:
            tell_agreement(console, told, folder, model or "", as_json=as_json)
        else:
            folders = [job.folder for job in todo]
            tell_comparison(console, folders, folder, against=told.against, as_json=as_json)


def work_off_jobs(console: Console, todo: list[tuple[Job, Prepared]], *, dry: bool = False) -> None:
    """Say what is to be done and what it would cost, then do it under a progress bar."""
    from milr.experiments import finished, run_job
    from milr.forecast import Forecast, forecast, probe, told
    from milr.progress import Progress

    with console.status("timing a few tokens"):
        rates = {model: probe(prepared) for model, prepared in {id(one.model): one for _, one in todo}.items()}
        costs = [forecast(one, finished(job, one), rates[id(one.model)]) for job, one in todo]
    whole = sum(costs, Forecast(0, 0, 0, 0.0))
    console.print(told(whole), soft_wrap=True)
    for place, ((job, prepared), cost) in enumerate(zip(todo, costs, strict=True), 1):
        if cost.samples and not dry:
            with Progress(console, prepared, f"{place} of {len(todo)}: {job.row}, seed {job.seed}") as progress:
                run_job(job, prepared, progress.on_event, progress.on_step)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; those that differ in their seed alone are a row.")],
    against: Annotated[str, typer.Option(help="The row that the others are tested against. Default: the first.")] = "",
    partial: Annotated[bool, typer.Option("--partial", help="Compare what all runs have finished so far.")] = False,
    quoted: Annotated[
        bool | None, typer.Option(help="Append the paper's published rows, labelled as quoted. Default: where it "
                                  "has rows for the benchmark.")] = None,
    out: Annotated[Path, typer.Option(help="Where compare.html, .md, .csv and .json go.")] = Path("comparison"),
    as_json: Json = False,
) -> None:  # fmt: skip
    """Set runs beside each other: scores with intervals, paired tests, costs, curves against pictures and seconds."""
    console = Console(stderr=as_json, highlight=False, markup=False)
    tell_comparison(console, runs, out, against=against, partial=partial, quoted=quoted, as_json=as_json)


def tell_comparison(console: Console, runs: list[Path], out: Path, *, against: str = "", partial: bool = False,
                    quoted: bool | None = None, as_json: bool = False) -> None:  # fmt: skip
    """The table on the terminal, or JSON on stdout; the files in `out`."""
    from milr.report.compare import compare_runs
    from milr.report.compare_export import to_json
    from milr.report.compare_page import write_files
    from milr.report.compare_tables import headline, terminal_rows

    with console.status("reading runs"):
        found = compare_runs(runs, against=against, partial=partial)
        page = write_files(found, out, quoted=quoted)
    header, lines = terminal_rows(found)
    show(console, header, lines)
    for line in (headline(found), *found.notes, f"page     {page}"):
        console.print(line, soft_wrap=True)
    if as_json:
        typer.echo(to_json(found))


def tell_agreement(console: Console, told: Experiment, out: Path, model: str, *, as_json: bool = False) -> None:
    """Ask each reward about the pictures of a row, and how it agrees with the report metric."""
    from milr.agreement import HEADER, agreement, judge_run, table, to_json
    from milr.catalog import make_reward
    from milr.experiments import jobs
    from milr.prepared import load_model
    from milr.runs.store import write_atomically

    options = told.options(told.pictures_of, told.seeds[0])
    judge = load_model(dataclasses.replace(options, model=model or options.model))
    found = []
    for name in told.agreement:
        folders = [job.folder for job in jobs(told, out, [told.pictures_of])]
        with console.status(f"asking {name}"):
            rows = [row for folder in folders for row in asyncio.run(judge_run(folder, name, judge))]
        found.append(agreement(name, make_reward(name, judge).threshold, rows))
    show(console, list(HEADER), table(found))
    write_atomically(out / "agreement.json", to_json(found).encode())
    console.print(f"numbers  {out / 'agreement.json'}", soft_wrap=True)
    if as_json:
        typer.echo(to_json(found))


def show(console: Console, header: list[str], lines: list[list[str]]) -> None:
    """A plain table."""
    made = Table(*header, box=None, padding=(0, 2, 0, 0))
    for line in lines:
        made.add_row(*line)
    console.print(made)


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
    """Show what can be chosen."""
    kinds = [catalog.one_of("kind", kind, list(catalog.KINDS))] if kind else list(catalog.KINDS)
    console = Console(highlight=False, markup=False)
    for name in kinds:
        table = Table(name, "what it is", "needs", "licence", box=None, padding=(0, 2, 0, 0))
        for part, entry in catalog.menu(name).items():
            table.add_row(part, entry.summary, entry.needs, entry.licence)
        console.print(table)
        console.print()


@app.command()
def doctor() -> None:
    """Check what runs on this machine."""
    from milr.doctor import findings

    console = Console(highlight=False, markup=False)
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


if __name__ == "__main__":
    main()
