"""`milr rerun`: a run again, from its folder alone."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from milr.cli.console import listeners_for, open_console, print_warnings
from milr.cli.flags import with_flags
from milr.cli.interrupts import run_async
from milr.options import WHERE, Options
from milr.types import UsageError

if TYPE_CHECKING:
    from milr.workflows.rerun import Repeated

HOW = ("in_flight", "threads", "cache_bytes", "graphs", "judge_concurrency", *WHERE)
DIFFERENT = 1  # exit code
MOST_NAMED = 10  # samples that differ


@with_flags(*(name for name in Options.__dataclass_fields__ if name not in HOW))
def rerun(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[Path | None, typer.Option(help="Where the repeated run goes. Default: RUN-again.")] = None,
    *,
    options: Options,
) -> None:
    """Repeat a run from its folder alone, and say whether tokens, scores and pictures are the same (else exit code 1).

    With --shard 1/50, a fiftieth of it. The same command resumes.
    """
    from milr.cli.progress import Progress
    from milr.workflows.rerun import compare_repeated, ready_rerun
    from milr.workflows.running import run as search

    console = open_console()
    again = out or run.with_name(f"{run.resolve().name}-again")
    if again.resolve() == run.resolve():
        raise UsageError(f"{again} is the run itself: choose another --out.")
    with ExitStack() as stack:
        with console.status("loading the model"):
            plan = stack.enter_context(ready_rerun(run, **{name: getattr(options, name) for name in HOW}))
        print_warnings(console, [plan])
        with Progress(console, plan, "repeating") as progress:
            run_async(search(plan, out=again, tokens=False, listeners=listeners_for(console, progress, None)))
        repeated = compare_repeated(run, again, plan)
    _print(console, repeated, again)
    if not repeated.is_identical:
        raise typer.Exit(DIFFERENT)


def _print(console: Console, repeated: Repeated, again: Path) -> None:
    same = repeated.compared - len(repeated.differences)
    word = "identical" if repeated.is_identical else "different"
    console.print(f"{word}  {same} of {repeated.compared} samples have the same tokens, scores and pictures",
                  soft_wrap=True)  # fmt: skip
    for name, difference in list(repeated.differences.items())[:MOST_NAMED]:
        console.print(f"differs    {name}: {difference}", soft_wrap=True)
    if repeated.missing:
        console.print(f"{repeated.missing} samples are not in both runs and were not compared")
    console.print(f"report     {again / 'report.html'}", soft_wrap=True)
