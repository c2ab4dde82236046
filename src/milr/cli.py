"""The command line. Thin: it reads options, shows progress, prints results; everything else is in `milr.api`."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from milr import __version__, catalog
from milr.options import Options, read_prompts
from milr.presets import PRESETS
from milr.types import JudgeError, MilrError, Outcome, UsageError

if TYPE_CHECKING:
    from milr.api import Prepared

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
                  help="Better pictures from a unified text-and-image model, by reasoning in its latent space at test "
                       "time (MILR).")  # fmt: skip
DEFAULTS = Options()


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Show the version and stop.")] = False) -> None:
    if version:
        typer.echo(f"milr {__version__}")
        raise typer.Exit


@app.command()
def generate(
    prompt: Annotated[str | None, typer.Argument(help="What to draw.", show_default=False)] = None,
    prompts: Annotated[Path | None, typer.Option(help="A file of prompts, one a line (or JSON lines).")] = None,
    model: Annotated[str, typer.Option(help="A name from `milr list models`, a folder or a hub name.")] = "nano",
    reward: Annotated[
        str | None,
        typer.Option(
            help="What guides: a name from `milr list rewards`, or path/to/file.py:name. Default: the detector for "
            "prompts of nano's world, else the model's own answer."
        ),
    ] = None,
    method: Annotated[str, typer.Option(help="A name from `milr list methods`.")] = "latent_reasoning",
    preset: Annotated[str, typer.Option(help=f"Settings to start from: {', '.join(PRESETS)}.")] = "default",
    schedule: Annotated[str | None, typer.Option(help="What moves when: joint, alt, t2v, text or image.")] = None,
    steps: Annotated[int | None, typer.Option(help="Most updates for each picture.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Stop above this score, 0 to 1.")] = None,
    text_ratio: Annotated[float | None, typer.Option(help="Share of the text latents that is free.")] = None,
    image_ratio: Annotated[float | None, typer.Option(help="Share of the image latents that is free.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Size of an update of each coordinate.")] = None,
    l2: Annotated[float | None, typer.Option(help="Pull towards the first latents.")] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="Classifier-free guidance.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Temperature of the image tokens.")] = None,
    visualisation: Annotated[str | None, typer.Option(help="Use this text instead of the model's own.")] = None,
    reasoning_prompt: Annotated[str | None, typer.Option(help="How to ask for it; {prompt} is replaced.")] = None,
    role_tags: Annotated[str | None, typer.Option(help="pipe (<|User|>) or plain (User).")] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or mps (untested).")] = "auto",
    seed: Annotated[int, typer.Option(help="The same seed gives the same pictures.")] = 0,
    samples: Annotated[int, typer.Option(help="Independent pictures for each prompt.")] = 1,
    limit: Annotated[int | None, typer.Option(help="Only the first prompts of the file.")] = None,
    in_flight: Annotated[int, typer.Option(help="Searches at the same time; changes speed only.")] = 16,
    out: Annotated[Path | None, typer.Option(help="Run folder. Default: runs/WORDS-DIGEST.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Search for a picture that follows the prompt, and write a report. The same command resumes a run."""
    chosen = {name: value for name, value in locals().items() if name in Options.__dataclass_fields__}
    texts = _texts(prompt, prompts, limit)
    _run(texts, Options(**chosen), out, as_json)


def _texts(prompt: str | None, prompts: Path | None, limit: int | None) -> list[str]:
    if (prompt is None) == (prompts is None):
        raise UsageError("give one prompt, or a file with --prompts.")
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1; it is {limit}.")
    return [prompt] if prompt is not None else read_prompts(prompts or Path())[:limit]


def _run(texts: list[str], options: Options, out: Path | None, as_json: bool) -> None:
    from milr.api import default_folder, prepare, run
    from milr.progress import Progress

    console = Console(stderr=as_json, highlight=False, markup=False)
    with console.status("loading the model"):
        _calm_threads(options)
        prepared = prepare(texts, options)
    folder = out or default_folder(prepared)
    progress = Progress(console, prepared)
    with progress:
        outcomes = asyncio.run(run(prepared, out=folder, on_step=progress.on_step, on_event=progress.on_event))
    if as_json:
        typer.echo(json.dumps([_as_json(outcome, folder, prepared) for outcome in outcomes], indent=1))
    else:
        _tell(console, outcomes, folder, prepared)
    if all(outcome.best is None for outcome in outcomes):
        why = outcomes[0].steps[-1].score.reason
        raise JudgeError(f"no picture could be judged ({why}): mend the reward, or choose another --reward and --out.")


def _calm_threads(options: Options) -> None:
    """nano's steps are too small to share: two threads that wait for each other are slower than one."""
    if options.model == "nano":
        import torch

        torch.set_num_threads(1)


def _picture_path(outcome: Outcome, folder: Path) -> Path:
    from milr.runs.store import name_of

    return folder / "images" / name_of(outcome.prompt, outcome.key.sample) / f"{outcome.returned:03d}.png"


def _tell(console: Console, outcomes: list[Outcome], folder: Path, prepared: Prepared) -> None:
    from milr.report.words import STOPS

    if len(outcomes) == 1:
        outcome = outcomes[0]
        first, best = outcome.first_score, outcome.score
        console.print(f"score    {_number(first.value)} -> {_number(best.value)}{_label(prepared)}")
        console.print(f"stopped  {STOPS[outcome.stop]}")
        cost = outcome.cost
        console.print(f"cost     {cost.pictures} pictures, {cost.token_steps} token-steps, {cost.reward_calls} reward "
                      f"calls, {cost.model_seconds:.1f} s model, {cost.reward_seconds:.1f} s reward")  # fmt: skip
        console.print(f"picture  {_picture_path(outcome, folder)}", soft_wrap=True)
    else:
        _tell_many(console, outcomes, prepared)
    console.print(f"report   {folder / 'report.html'}", soft_wrap=True)


def _tell_many(console: Console, outcomes: list[Outcome], prepared: Prepared) -> None:
    table = Table("prompt", "sample", "first", "best", "pictures", "stopped", box=None)
    for outcome in outcomes[:40]:
        table.add_row(outcome.prompt.text, str(outcome.key.sample), _number(outcome.first_score.value),
                      _number(outcome.score.value), str(len(outcome.steps)), outcome.stop)  # fmt: skip
    console.print(table)
    first, best = ([score.value for score in scores if score.value is not None] for scores in (
        [outcome.first_score for outcome in outcomes], [outcome.score for outcome in outcomes]))  # fmt: skip
    if first and best:
        console.print(f"mean score {sum(first) / len(first):.3f} -> {sum(best) / len(best):.3f}{_label(prepared)}, "
                      f"{len(best)} scored of {len(outcomes)}")  # fmt: skip


def _label(prepared: Prepared) -> str:
    return " (oracle: the reward that guides is also the judge)" if prepared.oracle else f" (by {prepared.reward_name})"


def _number(value: float | None) -> str:
    return "unscored" if value is None else f"{value:.2f}"


def _as_json(outcome: Outcome, folder: Path, prepared: Prepared) -> dict[str, Any]:
    steps = [
        {"index": step.index, "score": step.score.value, "moved": list(step.moved),
         "visualisation": step.rollout.visualisation.text if step.rollout.visualisation else None,
         "text_ids": list(step.rollout.visualisation.ids) if step.rollout.visualisation else [],
         "image_ids": list(step.rollout.image.ids)}
        for step in outcome.steps
    ]  # fmt: skip
    return {
        "prompt": outcome.prompt.text, "sample": outcome.key.sample, "seed": outcome.key.seed,
        "first_score": outcome.first_score.value, "score": outcome.score.value, "returned": outcome.returned,
        "stop": outcome.stop, "reward": prepared.reward_name, "oracle": prepared.guided_by_its_judge(outcome.prompt),
        "picture": str(_picture_path(outcome, folder)), "report": str(folder / "report.html"),
        "cost": dataclasses.asdict(outcome.cost), "steps": steps,
    }  # fmt: skip


@app.command()
def report(run: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Write a run's report.html, report.json and table.csv again."""
    from milr.report.html import write_report

    typer.echo(write_report(run))


@app.command("list")
def list_parts(kind: Annotated[str | None, typer.Argument(help="models, rewards or methods.")] = None) -> None:
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
