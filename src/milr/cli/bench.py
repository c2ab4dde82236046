"""The commands that run benchmarks and experiments, score folders of pictures, and compare."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from milr import catalog
from milr.cli.flags import with_options
from milr.options import Options
from milr.types import JudgeError, Prompt

if TYPE_CHECKING:
    from milr.base import Benchmark
    from milr.workflows.experiments import Experiment, Job
    from milr.workflows.prepare import PreparedRun

Out = Annotated[Path | None, typer.Option(help="Run folder. Default: runs/WORDS-DIGEST.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Name = Annotated[str, typer.Argument(help="A name from `milr list benchmarks`.")]
Prompts = Annotated[Path | None, typer.Option(help="A local copy of the benchmark's prompt files.")]
Categories = Annotated[str | None, typer.Option(help="Only these, with commas between them.")]
NOT_FOR_FOLDERS = tuple(name for name in Options.__dataclass_fields__ if not name.startswith(("judge_", "strict_"))
                        and name not in ("seed", "in_flight"))  # what only makes pictures  # fmt: skip
Limit = Annotated[int | None, typer.Option(help="Only so many prompts, spread evenly over the list.")]


@with_options("visualisation")
def bench(
    options: Options,
    benchmark: Name,
    split: Annotated[
        str | None, typer.Option(help="Of shapes: test (default), development, hard or hard-development.")
    ] = None,
    prompts: Prompts = None,
    categories: Categories = None,
    limit: Limit = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Run a method on a benchmark, and print its scores with intervals. The same command resumes."""
    from milr.workflows.experiments import Job
    from milr.workflows.prepare import prepare
    from milr.workflows.running import default_folder

    console = Console(stderr=as_json, highlight=False, markup=False)
    made, asked = _prompts_of(benchmark, categories, limit, split=split, prompts=prompts)
    options = dataclasses.replace(options, metric=options.metric or made.metric)
    with console.status("loading the model"):
        prepared = prepare(asked, options, benchmark=made)
    job = Job(options.method, options.seed, out or default_folder(prepared))
    work_off_jobs(console, [(job, prepared)])
    tell_comparison(console, [job.folder], job.folder, as_json=as_json)
    _tell_unscored(console, job.folder)


@with_options("visualisation", *NOT_FOR_FOLDERS)
def score(
    options: Options,
    benchmark: Name,
    folder: Annotated[Path, typer.Argument(help="Pictures in the benchmark's official layout, made by any tool.")],
    metric: Annotated[str | None, typer.Option(help="What judges. Default: the benchmark's own.")] = None,
    samples: Annotated[int | None, typer.Option(help="Pictures for each prompt. Default: those found.")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Score what is there, although some are missing.")] = False,
    split: Annotated[str | None, typer.Option(help="Of shapes: which prompts.")] = None,
    prompts: Prompts = None,
    categories: Categories = None,
    limit: Limit = None,
    out: Annotated[Path | None, typer.Option(help="Where the scores go. Default: runs/score-FOLDER.")] = None,
    as_json: Json = False,
) -> None:
    """Score a folder of pictures as a benchmark does; nothing is drawn. The same command resumes."""
    from milr.cli.progress import folder_progress
    from milr.report.html import write_report
    from milr.workflows.scoring import score_folder

    console = Console(stderr=as_json, highlight=False, markup=False)
    made, asked = _prompts_of(benchmark, categories, limit, split=split, prompts=prompts)
    name, to = metric or made.metric, out or Path("runs") / f"score-{folder.resolve().name}"
    with console.status("loading the metric"):
        judge = catalog.make_reward(name, None, options)
    with folder_progress(console) as (on_checked, on_event):
        found = asyncio.run(score_folder(
            made, folder, judge, out=to, metric_name=name, metric_identity=catalog.reward_identity(name, judge),
            notes=catalog.notes_of(made, judge, judge),
            prompts=asked, samples=samples, seed=options.seed, partial=partial, in_flight=options.in_flight,
            on_checked=on_checked, on_event=on_event,
        ))  # fmt: skip
    write_report(to)
    tell_comparison(console, [to], to, partial=partial, as_json=as_json)
    if found.missing:
        console.print(f"{found.missing} of {found.pictures + found.missing} pictures are missing and are not in the "
                      "score", soft_wrap=True)  # fmt: skip
    _tell_unscored(console, to)


def _prompts_of(name: str, categories: str | None, limit: int | None, **given: Any) -> tuple[Benchmark, list[Prompt]]:
    """The benchmark and those of its prompts that were asked for."""
    from milr.benchmarks.selection import chosen

    made = catalog.make_benchmark(name, **{key: value for key, value in given.items() if value is not None})
    names = [part.strip() for part in categories.split(",")] if categories else ()
    return made, chosen(made.prompts(), names, limit)


def _tell_unscored(console: Console, folder: Path) -> None:
    """How many returned pictures have no score, and why the first has none; JudgeError where all have none."""
    from milr.runs.store import RunStore

    judged = [record.result.judged or record.result for record in RunStore(folder).records()]
    lost = [one.reason.rstrip(".") for one in judged if one.score is None]
    if lost and len(lost) == len(judged):
        raise JudgeError(f"no picture could be judged ({lost[0]}): mend that, and the same command asks again.")
    if lost:
        console.print(f"{len(lost)} of {len(judged)} pictures are unscored, the first because {lost[0]}; "
                      "the same command asks again.", soft_wrap=True)  # fmt: skip


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
    from milr.workflows.experiments import jobs, prepared_jobs, read

    console = Console(stderr=as_json, highlight=False, markup=False)
    told, folder = read(file), out or Path("runs") / file.stem
    replaced = {name: value for name, value in (("in_flight", in_flight), ("model", model)) if value is not None}
    todo = jobs(told, folder, tuple(row or ()))
    console.print(f"{told.title}: {len(todo)} runs into {folder}", soft_wrap=True)
    work_off_jobs(console, list(prepared_jobs(told, todo, **replaced)), dry=dry)
    if not (dry or row):
        if told.agreement:
            tell_agreement(console, told, folder, model or "", as_json=as_json)
        else:
            folders = [job.folder for job in todo]
            tell_comparison(console, folders, folder, against=told.against, as_json=as_json)


def work_off_jobs(console: Console, todo: list[tuple[Job, PreparedRun]], *, dry: bool = False) -> None:
    """Say what is to be done and what it would cost, then do it under a progress bar."""
    from milr.cli.progress import Progress
    from milr.workflows.estimate import Forecast, forecast, probe, told
    from milr.workflows.experiments import finished, run_job

    with console.status("timing a few tokens"):
        rates = {model: probe(prepared) for model, prepared in {id(one.model): one for _, one in todo}.items()}
        costs = [forecast(one, finished(job, one), rates[id(one.model)]) for job, one in todo]
    whole = sum(costs, Forecast(0, 0, 0, 0.0))
    console.print(told(whole), soft_wrap=True)
    for place, ((job, prepared), cost) in enumerate(zip(todo, costs, strict=True), 1):
        if cost.samples and not dry:
            with Progress(console, prepared, f"{place} of {len(todo)}: {job.row}, seed {job.seed}") as progress:
                run_job(job, prepared, progress.on_event, progress.on_step)


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
    from milr.report.compare.comparison import compare_runs
    from milr.report.compare.export import to_json
    from milr.report.compare.page import write_files
    from milr.report.compare.tables import headline, terminal_rows

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
    from milr.runs.store import write_atomically
    from milr.workflows.agreement import HEADER, agreement, judge_run, table, to_json
    from milr.workflows.experiments import jobs
    from milr.workflows.prepare import load_model

    options = told.options(told.pictures_of, told.seeds[0])
    judge = load_model(dataclasses.replace(options, model=model or options.model))
    found = []
    for name in told.agreement:
        folders = [job.folder for job in jobs(told, out, [told.pictures_of])]
        with console.status(f"asking {name}"):
            rows = [row for folder in folders for row in asyncio.run(judge_run(folder, name, judge, options=options))]
        found.append(agreement(name, rows))
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


COMMANDS = (bench, score, experiment, compare)
