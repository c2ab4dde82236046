"""`milr bench` and `milr score`: a benchmark's score of a method's pictures, or of a folder of pictures."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from milr import catalog
from milr.cli.compare import print_comparison
from milr.cli.console import FINISHED, json_alone, open_console, print_shard, track_finished
from milr.cli.flags import Json, Out, PromptFlags, Track, with_flags
from milr.cli.interrupts import run_async
from milr.options import Options
from milr.types import JudgeError, Prompt, UsageError

if TYPE_CHECKING:
    from milr.base import Benchmark
    from milr.report.compare.records import Comparison
    from milr.runs.store import StoredRecords

NOT_FOR_FOLDERS = tuple(name for name in Options.__dataclass_fields__ if not name.startswith(("judge_", "strict_"))
                        and name not in ("seed", "in_flight"))  # options that only make pictures  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ScoreFlags:
    """How `milr score` judges a folder."""

    metric: Annotated[str | None, typer.Option(help="What judges. Default: the benchmark's own.")] = None
    reward: Annotated[str | None, typer.Option(help="The same as --metric.")] = None
    samples: Annotated[int | None, typer.Option(help="Pictures for each prompt. Default: those found.")] = None
    partial: Annotated[bool, typer.Option("--partial", help="Score what is there, although some are missing.")] = False

    def judge(self, benchmark: Benchmark | None) -> str:
        """The name of the reward that judges; UsageError where none, or two, are named."""
        if self.metric and self.reward and self.metric != self.reward:
            raise UsageError("--metric and --reward are two names of one flag here: leave one out.")
        name = self.metric or self.reward or (benchmark.metric if benchmark else "")
        if not name:
            raise UsageError("a list of pictures has no judge of its own: name one with --reward.")
        return name


@with_flags("visualisation")
def bench(
    benchmark: Annotated[str, typer.Argument(help="A name from `milr list benchmarks`, or `list`.")],
    choice: PromptFlags,
    file: Annotated[
        Path | None, typer.Argument(help="With `list`: your own prompts, as for generate --prompts.")
    ] = None,
    track: Track = None,
    out: Out = None,
    as_json: Json = False,
    *,
    options: Options,
) -> None:
    """Run a method on a benchmark, or on a list of prompts with a reward, and print its scores with intervals.

    The same command resumes.
    """
    from milr.cli.experiment import execute_runs
    from milr.workflows.engines import ready_run
    from milr.workflows.experiments import ExperimentRun
    from milr.workflows.finished import finished_run
    from milr.workflows.running import default_folder
    from milr.workflows.tracking import check_tracker

    console = open_console(stderr=as_json)
    check_tracker(track)
    listed = _prompt_list(benchmark, file, choice, options)
    part, prompts = _select_prompts(benchmark, choice, listed)
    options = dataclasses.replace(options, metric=options.metric or part.metric)
    if options.samples == 1:  # a file in which each line stands so often means as many samples
        options = dataclasses.replace(options, samples=getattr(part, "repeats", 1))
    stored: dict[Path, StoredRecords] = {}
    if finished := finished_run(prompts, options, out, part.name):
        folder, stored[folder] = finished
        console.print(FINISHED)
        track_finished(console, folder, track)
    else:
        with ExitStack() as stack:
            stack.enter_context(json_alone(console))
            with console.status("loading the model"):
                prepared = stack.enter_context(ready_run(prompts, options, benchmark=part))
            folder = out or default_folder(prepared)
            execute_runs(console, [(ExperimentRun(options.method, options.seed, folder), prepared)], track=track)
    if print_shard(console, folder, shard=options.shard):
        return
    _report_unscored(console, folder, print_comparison(console, [folder], folder, as_json=as_json, stored=stored))


@with_flags("visualisation", *NOT_FOR_FOLDERS)
def score(
    benchmark: Annotated[str, typer.Argument(help="A name from `milr list benchmarks`, or `list`.")],
    folder: Annotated[
        Path,
        typer.Argument(help="Pictures in the benchmark's official layout; with `list`, a file of paths and prompts."),
    ],
    scoring: ScoreFlags,
    choice: PromptFlags,
    out: Annotated[Path | None, typer.Option(help="Where the scores go. Default: runs/score-FOLDER.")] = None,
    as_json: Json = False,
    *,
    options: Options,
) -> None:
    """Score a folder or a list of pictures; nothing is drawn. The same command resumes."""
    from milr.cli.progress import folder_progress
    from milr.report.html import write_report
    from milr.runs.events import Listeners
    from milr.workflows.prompt_list import LIST
    from milr.workflows.scoring import FolderJudge, Selection, score_folder, score_list

    console, is_list = open_console(stderr=as_json), benchmark == LIST
    run_folder = out or Path("runs") / f"score-{folder.resolve().stem if is_list else folder.resolve().name}"
    part, prompts = (None, None) if is_list else _select_prompts(benchmark, choice)
    if is_list and choice != PromptFlags():
        raise UsageError("a list has its own prompts: leave --split, --prompts, --categories and --limit out.")
    name = scoring.judge(part)
    selection = Selection(None if prompts is None else tuple(prompts), scoring.samples, options.seed, scoring.partial)
    with console.status("loading the metric"):
        reward = catalog.make_reward(name, None, options)
        judge = FolderJudge(reward, name, catalog.reward_identity(name, reward),
                            catalog.notes_of(part, reward, reward))  # fmt: skip
    with folder_progress(console) as (on_checked, listener):
        settings: dict[str, Any] = {"out": run_folder, "selection": selection, "in_flight": options.in_flight,
                                    "on_checked": on_checked, "listener": Listeners(listener)}  # fmt: skip
        tally = run_async(score_folder(part, folder, judge, **settings) if part
                            else score_list(folder, judge, **settings))  # fmt: skip
    write_report(run_folder)
    comparison = print_comparison(console, [run_folder], run_folder, partial=scoring.partial or is_list,
                                  as_json=as_json)  # fmt: skip
    if tally.missing:
        console.print(f"{tally.missing} of {tally.pictures + tally.missing} pictures are missing and are not in the "
                      "score", soft_wrap=True)  # fmt: skip
    _report_unscored(console, run_folder, comparison)


def _prompt_list(name: str, file: Path | None, choice: PromptFlags, options: Options) -> Benchmark | None:
    """The user's own prompts where `name` says so; UsageError where file and flags do not fit to it."""
    from milr.workflows.prompt_list import LIST, PromptList

    if name != LIST:
        if file is not None:
            raise UsageError(f"the benchmark {name} has prompts of its own: leave {file} out, or name it --prompts.")
        return None
    if file is None or choice.benchmark_settings():
        raise UsageError("a list of prompts is one file: milr bench list FILE, without --prompts and --split.")
    return PromptList(file, options.metric or options.reward)


def _select_prompts(name: str, choice: PromptFlags, listed: Benchmark | None = None
                    ) -> tuple[Benchmark, list[Prompt]]:  # fmt: skip
    """The benchmark (`listed` where it is the user's own), and those of its prompts that the flags choose."""
    from milr.benchmarks.selection import select_prompts

    benchmark = listed or catalog.make_benchmark(name, **choice.benchmark_settings())
    return benchmark, select_prompts(benchmark.prompts(), choice.category_names(), choice.limit)


def _report_unscored(console: Console, folder: Path, comparison: Comparison) -> None:
    """Say how many returned pictures have no score, and why the first has none; JudgeError where all have none."""
    if all(row.overall.returned.scored == row.overall.returned.n for row in comparison.rows):
        return  # without reading the records again
    from milr.runs.store import read_run
    from milr.workflows.unscored import describe_unscored, reasons_in

    config, reasons = read_run(folder).config, reasons_in(folder)
    sentence = describe_unscored(reasons, config.reward, config.report_metric)
    if sentence and None not in reasons:
        raise JudgeError(sentence)
    if sentence:
        console.print(sentence, soft_wrap=True)
