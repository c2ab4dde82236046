"""`milr list` and `milr doctor`: what can be chosen, and what of it runs on this machine."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milr import catalog
from milr.cli.console import open_console
from milr.options import Options
from milr.types import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from milr.catalog.parts import Part
    from milr.workflows.check_run import CheckedRun
    from milr.workflows.doctor import Finding

NARROWEST = 24  # columns that an explanation gets even where the names leave fewer
WORDS = "words"
THRESHOLD = "stops above"  # heading of the rewards' thresholds


def list_parts(
    kind: Annotated[str | None, typer.Argument(help="models, rewards, methods, benchmarks, or words.")] = None,
) -> None:
    """Show what can be chosen. A search stops above a reward's threshold; every score lies between 0 and 1.

    `words` shows what prompts of the embedded world are made of.
    """
    width = open_console().width
    if kind == WORDS:
        for line in format_words(width):
            typer.echo(line)
        return
    kinds = [catalog.one_of("kind", kind, [*catalog.KINDS, WORDS])] if kind else list(catalog.KINDS)
    for name in kinds:
        for line in format_parts(name, catalog.menu(name), width):
            typer.echo(line)
        typer.echo()


def format_parts(kind: str, parts: dict[str, Part], width: int) -> Iterator[str]:
    """A heading, then the parts: each name whole at the start of a line, its explanation wrapped beside it.

    `width` is in columns; a line is wider only where a single name or word of it is.
    """
    stops = {name: "" if part.threshold is None else f"{part.threshold:g}" for name, part in parts.items()}
    left = max(map(len, [kind, *parts])) + 2
    middle = len(THRESHOLD) + 2 if kind == "rewards" else 0
    yield f"{kind:{left}}{THRESHOLD if middle else '':{middle}}what it is"
    for name, part in parts.items():
        first, *more = textwrap.wrap(_explain(part), max(NARROWEST, width - left - middle), break_long_words=False,
                                     break_on_hyphens=False) or [""]  # fmt: skip
        yield f"{name:{left}}{stops[name]:{middle}}{first}".rstrip()
        yield from (" " * (left + middle) + line for line in more)


def format_words(width: int) -> Iterator[str]:
    """For every small world that some model draws: the words of its prompts by kind, wrapped to `width` columns."""
    for name, world in catalog.worlds().items():
        yield f"The world {name}: prompts are read where they are made of these words."
        left = max(map(len, world.vocabulary())) + 2
        for kind, words in world.vocabulary().items():
            between = "; " if any(" " in word for word in words) else ", "
            lines = textwrap.wrap(between.join(words), max(NARROWEST, width - left), break_on_hyphens=False)
            yield f"{kind:{left}}{lines[0]}"
            yield from (" " * left + line for line in lines[1:])


def _explain(part: Part) -> str:
    needs = f" Needs {part.needs}." if part.needs not in ("", "nothing") else ""
    licence = f" Licence: {part.licence}." if part.licence else ""
    prompts = "" if part.prompts is None else f" Prompts: {part.prompts:,}."
    judge = f" Judge: {part.judge}." if part.judge else ""
    calls = f" Judge calls for one picture of each prompt: {part.judge_calls}." if part.judge_calls else ""
    return f"{part.summary}.{needs}{prompts}{judge}{calls}{licence}"


def doctor(
    run: Annotated[Path | None, typer.Argument(help="A run folder, of which every byte is checked.")] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Set aside what is damaged in the run, remove what killed "
                                         "processes left, write its report anew.")] = False,
    fetch: Annotated[str | None, typer.Option(help="Fetch what this reward needs: its weights, spaCy's model.")] = None,
    device: Annotated[str | None, typer.Option(help="Try a model on this device (cuda, cpu): do its tokens hold there, "
                                               "how fast, how many at once.")] = None,
    model: Annotated[str, typer.Option(help="The model to try with --device.")] = Options().model,
) -> None:  # fmt: skip
    """Check what runs on this machine, the rewards among it; or, with a run's folder, every byte of the run."""
    from milr.workflows.doctor import check_machine, fetch_for

    console = open_console()
    if device is not None:
        from milr.workflows.device_check import check_device

        _print_findings(console, check_device(Options(model=model, device=device)), "wrong  ")
        return
    if run is not None:
        _repair_run(console, run) if repair else _check_run(console, run)
        return
    if repair:
        raise UsageError("--repair mends a run: name its folder.")
    if fetch:
        fetch_for(catalog.one_of("reward", fetch, list(catalog.REWARDS)), console.print)
    _print_findings(console, check_machine(), "missing")


def _print_findings(console: Console, findings: Iterable[Finding], otherwise: str) -> None:
    """A line for each, `otherwise` before those that are not ok; exit code 3 where a needed one is not."""
    is_fine = True
    for finding in findings:
        console.print(f"{'ok     ' if finding.ok else otherwise}  {finding.what}", soft_wrap=True)
        is_fine = is_fine and (finding.ok or not finding.needed)
    if not is_fine:
        raise typer.Exit(3)


def _check_run(console: Console, folder: Path) -> None:
    """Print what is damaged in a run's folder; exit code 3 where anything is."""
    from milr.workflows.check_run import check_run

    _print_checked(console, check_run(folder), "The command that made this run makes again what is damaged; --repair "
                   "sets it aside.")  # fmt: skip


def _repair_run(console: Console, folder: Path) -> None:
    """Mend a run's folder, and print what was mended and what was not; exit code 3 where damage is left."""
    from milr.workflows.repair_run import repair_run

    repaired = repair_run(folder)
    for sentence in repaired.mended:
        console.print(f"mended   {sentence}", soft_wrap=True)
    for sentence in repaired.left:
        console.print(f"left     {sentence}", soft_wrap=True)
    if not (repaired.mended or repaired.left):
        console.print("nothing to mend")
    _print_checked(console, repaired.checked, "A repair cannot mend this: the command that made this run can.")
    if repaired.checked.complete < repaired.checked.samples:
        console.print("The command that made this run makes the samples that it lacks.")


def _print_checked(console: Console, checked: CheckedRun, advice: str) -> None:
    for damage in checked.damage:
        console.print(f"damaged  {damage}", soft_wrap=True)
    console.print(f"{checked.complete} of {checked.samples} samples are complete")
    if checked.damage:
        console.print(advice)
        raise typer.Exit(3)
