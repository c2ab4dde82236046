"""`milr experiment`: the rows of an experiment file, run one after the other or by many workers, and compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from milr.cli.compare import print_comparison
from milr.cli.console import (
    json_alone,
    listeners_for,
    open_console,
    print_shard,
    print_table,
    print_warnings,
    track_finished,
)
from milr.cli.flags import Json, PromptFlags, Track, with_flags
from milr.cli.interrupts import run_async
from milr.options import Options

if TYPE_CHECKING:
    from milr.workflows.experiments import Experiment, ExperimentRun
    from milr.workflows.searcher import RunPlan


def _help_of(option: str) -> str:
    return str(Options.__dataclass_fields__[option].metadata["help"])


@dataclasses.dataclass(frozen=True)
class RowFlags:
    """Options that replace those of every row; None leaves a row as the file has it."""

    model: Annotated[str | None, typer.Option(help="Another model than the file names.")] = None
    reward: Annotated[str | None, typer.Option(help="Another search reward, in every row.")] = None
    metric: Annotated[str | None, typer.Option(help="Another report metric, in every row.")] = None
    in_flight: Annotated[int | None, typer.Option(help="Searches at the same time. Default: the file's.")] = None
    judge_url: Annotated[str | None, typer.Option(help=_help_of("judge_url"))] = None
    judge_model: Annotated[str | None, typer.Option(help=_help_of("judge_model"))] = None
    engine: Annotated[str | None, typer.Option(help=_help_of("engine"))] = None
    workers: Annotated[int | None, typer.Option(help=_help_of("workers"))] = None
    gpus_per_worker: Annotated[float | None, typer.Option(help=_help_of("gpus_per_worker"))] = None
    address: Annotated[str | None, typer.Option(help=_help_of("address"))] = None
    shard: Annotated[str | None, typer.Option(help=_help_of("shard"))] = None

    def options(self) -> dict[str, Any]:
        """The options that were given."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


@dataclasses.dataclass(frozen=True)
class OutputFlags:
    """Where an experiment writes."""

    out: Annotated[Path | None, typer.Option(help="Folder of all runs. Default: runs/NAME-OF-THE-FILE.")] = None
    track: Track = None


@with_flags()
def experiment(
    file: Annotated[Path, typer.Argument(help="A TOML file such as those in experiments/.")],
    choice: PromptFlags,
    replaced: RowFlags,
    written: OutputFlags,
    benchmark: Annotated[str | None, typer.Option(help="Another benchmark than the file names.")] = None,
    row: Annotated[list[str] | None, typer.Option(help="Only this row, without a table; can be repeated.")] = None,
    dry: Annotated[bool, typer.Option("--dry", help="Only say what it would cost.")] = False,
    as_json: Json = False,
) -> None:
    """Run all rows of an experiment file on the same prompts and seeds, and compare them. The same command resumes."""
    from milr.workflows.experiments import experiment_runs, prepare_runs, read_experiment, unfinished_runs
    from milr.workflows.searcher import LOCAL
    from milr.workflows.tracking import check_tracker

    console = open_console(stderr=as_json)
    track = written.track
    check_tracker(track)
    plan, folder = read_experiment(file), written.out or Path("runs") / file.stem
    prompts = str(choice.prompts) if choice.prompts else None
    plan = plan.replaced(benchmark=benchmark, split=choice.split, prompts=prompts, limit=choice.limit,
                         categories=choice.category_names() or None)  # fmt: skip
    runs = experiment_runs(plan, folder, tuple(row or ()))
    console.print(f"{plan.title}: {len(runs)} runs into {folder}", soft_wrap=True)
    remaining = unfinished_runs(plan, runs, **replaced.options())
    for run in runs if not dry else []:
        if run not in remaining:
            track_finished(console, run.folder, track)
    if replaced.engine in (None, LOCAL) or dry:
        execute_runs(console, list(prepare_runs(plan, remaining, **replaced.options())), dry=dry, track=track)
    else:
        _execute_elsewhere(console, plan, remaining, replaced, track)
    if dry or row or print_shard(console, *(run.folder for run in runs), shard=replaced.shard):
        return
    if plan.agreement:
        print_agreement(console, plan, folder, replaced.options(), as_json=as_json)
    else:
        folders = [run.folder for run in runs]
        print_comparison(console, folders, folder, against=plan.against, as_json=as_json)


def _execute_elsewhere(console: Console, plan: Experiment, runs: Sequence[ExperimentRun], replaced: RowFlags,
                       track: str | None) -> None:  # fmt: skip
    """Execute the runs on the engine that the flags name: those of one model together, as one queue."""
    from milr.cli.progress import QueueProgress
    from milr.workflows.experiments import execute_queue, queues_of, ready_queue

    for queue in queues_of(plan, runs, **replaced.options()):
        with ExitStack() as stack:
            stack.enter_context(json_alone(console))
            with console.status("loading the model"):
                ready = stack.enter_context(ready_queue(plan, queue, **replaced.options()))
            print_warnings(console, ready)
            titles = [f"{run.row}, seed {run.seed}" for run in queue]
            progress = stack.enter_context(QueueProgress(console, ready, titles))
            listeners = [listeners_for(console, bar, track) for bar in progress.bars]
            run_async(execute_queue(list(zip(queue, ready, strict=True)), listeners))


def execute_runs(console: Console, runs: Sequence[tuple[ExperimentRun, RunPlan]], *, dry: bool = False,
                 track: str | None = None) -> None:  # fmt: skip
    """Print what all runs together would cost; unless `dry`, execute those that are not finished, with progress."""
    from milr.cli.progress import Progress
    from milr.workflows.experiments import execute_run, finished_samples

    print_warnings(console, [prepared for _, prepared in runs])
    finished = [finished_samples(run, prepared) for run, prepared in runs]
    _print_estimate(console, [(prepared, len(names)) for (_, prepared), names in zip(runs, finished, strict=True)])
    for number, ((run, prepared), names) in enumerate(zip(runs, finished, strict=True), 1):
        if len(names) == len(prepared.jobs) and not dry:
            track_finished(console, run.folder, track)
        elif not dry:
            title = f"{number} of {len(runs)}: {run.row}, seed {run.seed}"
            with Progress(console, prepared, title) as progress:
                run_async(execute_run(run, prepared, listeners_for(console, progress, track), names))


def _print_estimate(console: Console, runs: Sequence[tuple[RunPlan, int]]) -> None:
    """What the runs, of which so many samples are finished, would cost; nothing of those of other machines."""
    from milr.workflows.estimate import Estimate, estimate, measure_speed
    from milr.workflows.prepare import PreparedRun

    here = [(run, number) for run, number in runs if isinstance(run, PreparedRun)]
    if runs and not here:
        return
    with console.status("timing a few tokens"):
        by_model = {id(run.model): run for run, _ in here}
        speeds = {model: measure_speed(run) for model, run in by_model.items()}
        estimates = [estimate(run, number, speeds[id(run.model)]) for run, number in here]
    console.print(str(sum(estimates, Estimate())), soft_wrap=True)


def print_agreement(console: Console, plan: Experiment, out: Path, replaced: dict[str, Any], *,
                    as_json: bool = False) -> None:  # fmt: skip
    """Ask each reward about the pictures of a row, and print how it agrees with the report metric."""
    from milr.runs.store import write_atomically
    from milr.workflows.agreement import HEADER, judge_run, measure_agreement, table_rows, to_json
    from milr.workflows.experiments import experiment_runs
    from milr.workflows.prepare import load_model

    options = dataclasses.replace(plan.options(plan.pictures_of, plan.seeds[0]), **replaced)
    model = load_model(options)
    folders = [run.folder for run in experiment_runs(plan, out, [plan.pictures_of])]
    agreements = []
    for reward in plan.agreement:
        with console.status(f"asking {reward}"):
            judged = [picture for folder in folders
                      for picture in run_async(judge_run(folder, reward, model, options=options))]  # fmt: skip
        agreements.append(measure_agreement(reward, judged))
    print_table(console, HEADER, table_rows(agreements))
    content = to_json(agreements)
    write_atomically(out / "agreement.json", content.encode())
    console.print(f"numbers  {out / 'agreement.json'}", soft_wrap=True)
    if as_json:
        typer.echo(content)
