"""`milr report` and `milr export`: what a run folder already holds, written again for readers and for evaluators."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from milr import catalog
from milr.cli.console import print_damage


def report(run: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Write a run's report.html, report.json and table.csv again."""
    from milr.report.html import write_report

    typer.echo(write_report(run, on_damage=lambda damage: print_damage({run: len(damage)})))


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
    stored = store.read(tokens=False)
    print_damage({run: len(stored.damage)})
    tally = layouts.export(run, store.prompts(), stored.records, layout=layout, to=to, picture=picture,  # type: ignore[arg-type]
                           keep_stop=keep_stop)  # fmt: skip
    missing = f"; {tally.missing} samples are not finished and are left out" if tally.missing else ""
    typer.echo(f"{tally.pictures} pictures in {tally.folder}{missing}")
