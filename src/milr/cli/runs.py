"""`milr report`, `export` and `merge`: what run folders already hold, written again or joined."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from milr import catalog
from milr.cli.console import open_console, print_damage


def report(run: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Write a run's report.html, report.json and table.csv again."""
    from milr.report.html import write_report

    typer.echo(write_report(run, on_damage=lambda damage: print_damage({run: len(damage)})))


def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    layout: Annotated[
        str,
        typer.Option(help="geneval, geneval2, t2i-compbench, wise, dpg-bench, unigenbench, imagefolder or parquet."),
    ],
    to: Annotated[Path, typer.Option(help="Where the pictures go: a new folder.")],
    picture: Annotated[str, typer.Option(help="returned, first or last.")] = "returned",
    keep_stop: Annotated[bool, typer.Option(help="Keep a prompt's final full stop in t2i-compbench names.")] = True,
    split: Annotated[str, typer.Option(help="train, validation or test, of imagefolder and parquet.")] = "train",
) -> None:
    """Copy a run's pictures into folders that a benchmark's official evaluator or the library datasets reads."""
    from milr.runs import dataset_layouts, layouts
    from milr.runs.store import RunStore

    catalog.one_of("picture", picture, list(layouts.PICTURES))
    catalog.one_of("layout", layout, [*layouts.LAYOUTS, *dataset_layouts.DATASET_LAYOUTS])
    store = RunStore(run)
    store.run()
    stored = store.read(tokens=False)
    print_damage({run: len(stored.damage)})
    if layout in dataset_layouts.DATASET_LAYOUTS:
        tally = dataset_layouts.export_dataset(run, stored.records, layout=layout, to=to, split=split,
                                               picture=picture)  # type: ignore[arg-type]  # fmt: skip
    else:
        tally = layouts.export(run, store.prompts(), stored.records, layout=layout, to=to, keep_stop=keep_stop,
                               picture=picture)  # type: ignore[arg-type]  # fmt: skip
    missing = f"; {tally.missing} samples are not finished and are left out" if tally.missing else ""
    typer.echo(f"{tally.pictures} pictures in {tally.folder}{missing}")


def merge(
    out: Annotated[Path, typer.Argument(help="The folder of the whole run: a new one, or that of an earlier merge.")],
    runs: Annotated[list[Path], typer.Argument(help="Folders with parts of one run, as --shard makes them.")],
) -> None:
    """Join the parts of one run, each byte checked, and write its report. Parts of another run are refused."""
    from milr.cli.progress import count_progress
    from milr.report.html import write_report
    from milr.workflows.merge import merge_runs

    console = open_console()
    with count_progress(console, "joining samples") as on_sample:
        merged = merge_runs(out, runs, on_sample)
    report = write_report(out)
    there = f", {merged.existing} were there already" if merged.existing else ""
    console.print(f"merged   {merged.copied} samples{there}; {out} has {merged.finished} of {merged.samples}",
                  soft_wrap=True)  # fmt: skip
    console.print(f"report   {report}", soft_wrap=True)
