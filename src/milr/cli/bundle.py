"""`milr bundle`: runs and their comparisons as a folder of static pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from milr.cli.console import open_console, print_damage


def bundle(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; comparable ones are compared.")],
    out: Annotated[Path, typer.Option(help="The folder of the pages: a new one, or an earlier bundle.")],
    title: Annotated[str, typer.Option(help="The heading of the first page.")] = "Runs",
    all_steps: Annotated[
        bool,
        typer.Option(
            "--all-steps", help="The pictures of all steps as files, too; else the first and the returned ones."
        ),
    ] = False,
) -> None:
    """Write runs and their comparisons as static pages, for any web server or for opening from disk."""
    from milr.report.bundle.site import write_bundle

    console = open_console()
    with console.status("writing pages"):
        written = write_bundle(runs, out, title=title, all_steps=all_steps)
    print_damage(written.damaged)
    for folder, why in written.alone.items():
        console.print(f"alone    {folder}: {why}", soft_wrap=True)
    console.print(f"compared {written.comparisons} group{'' if written.comparisons == 1 else 's'} of runs")
    console.print(f"page     {written.page}", soft_wrap=True)
