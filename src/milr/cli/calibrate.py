"""`milr calibrate`: by which logistics a model's own judgements become scores."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milr.cli.flags import Json, Out, with_flags
from milr.cli.interrupts import run_async
from milr.options import Options

if TYPE_CHECKING:
    from milr.rewards.calibration_file import JudgeCalibration

PICTURES = 4  # of each prompt
RANKS = "quantiles of its own pictures: an order, and no probability"
NOT_FOR_CALIBRATION = ("model", "reward", "choose", "method", "preset", "schedule", "steps", "token_steps",
                       "reward_calls", "stop", "threshold", "text_ratio", "image_ratio", "learning_rate", "l2",
                       "visualisation", "samples", "calibration", "strict_unidet_nouns")  # fmt: skip


@with_flags(*NOT_FOR_CALIBRATION)
def calibrate(
    model: Annotated[str, typer.Argument(help="A name from `milr list models`, a folder or a hub name.")],
    prompts: Annotated[Path, typer.Option(help="A file of prompts: one a line, JSON, or CSV.")],
    limit: Annotated[int | None, typer.Option(help="Only the first prompts of the file.")] = None,
    judges: Annotated[str, typer.Option(help="Which judges, with commas between them.")] = "own,seen,likelihood",
    to: Annotated[Path, typer.Option(help="The file to write, for --calibration.")] = Path("calibration.json"),
    as_json: Json = False,
    out: Out = None,
    *,
    options: Options,
) -> None:
    """Fit a model's own judges to scores in [0, 1] on its pictures of some prompts, and say how well they hold.

    With a metric (nano's world has one) a score is the probability that the metric finds the picture right; without one
    it says how the picture ranks among the model's own. The same command resumes.
    """
    from milr.cli.console import open_console, print_table, print_warnings
    from milr.cli.progress import Progress
    from milr.runs.events import Listeners
    from milr.workflows.calibrate import calibration_of, prepare_calibration, write_calibration
    from milr.workflows.prompts import read_prompts
    from milr.workflows.running import default_folder, run

    console = open_console(stderr=as_json)
    options = dataclasses.replace(options, model=model, pictures=options.pictures or PICTURES)
    with console.status("loading the model"):
        names = [name.strip() for name in judges.split(",") if name.strip()]
        prepared = prepare_calibration(read_prompts(prompts)[:limit], options, names)
    print_warnings(console, [prepared])
    with Progress(console, prepared, "drawing") as progress:
        outcomes = run_async(run(prepared, out=out or default_folder(prepared), listeners=Listeners(progress)))
    calibration = calibration_of(prepared, outcomes)
    write_calibration(calibration, to)
    if as_json:
        typer.echo(calibration.model_dump_json(indent=1))
        return
    header = ("judge", "slope", "intercept", "fitted to", "held out", *_HELD_OUT[bool(calibration.metric)])
    print_table(console, header, [(name, *_row(judge)) for name, judge in calibration.judges.items()])
    console.print(f"file     {to} (by {calibration.metric or RANKS})", soft_wrap=True)


_HELD_OUT = {True: ("right", "Brier", "calibration error"), False: ("above 0.5", "above 0.9")}


def _row(judge: JudgeCalibration) -> tuple[str, ...]:
    numbers = (judge.right, judge.brier, judge.error) if judge.above is None else judge.above
    shown = tuple("" if number is None else f"{number:.3f}" for number in numbers)
    return (f"{judge.slope:.4f}", f"{judge.intercept:.3f}", str(judge.fitted), str(judge.held_out), *shown)
