"""`milr compare`: runs set beside each other, on the terminal, as JSON and as files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from milr.cli.console import open_console, print_damage, print_table
from milr.cli.flags import Json

if TYPE_CHECKING:
    from milr.report.compare.records import Comparison
    from milr.runs.store import StoredRecords


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
    console = open_console(stderr=as_json)
    print_comparison(console, runs, out, against=against, partial=partial, quoted=quoted, as_json=as_json)


def print_comparison(console: Console, runs: list[Path], out: Path, *, against: str = "", partial: bool = False,
                     quoted: bool | None = None, as_json: bool = False,
                     stored: Mapping[Path, StoredRecords] | None = None) -> Comparison:  # fmt: skip
    """Write the comparison's files into `out`, and print its table; with `as_json`, its JSON on stdout as well.

    `stored` are records that have been read already, by their folder.
    """
    from milr.report.compare.comparison import compare as compare_rows
    from milr.report.compare.export import to_json
    from milr.report.compare.page import write_files
    from milr.report.compare.rows import load_rows
    from milr.report.compare.sentences import headline
    from milr.report.compare.tables import official_table, terminal_rows

    with console.status("reading runs"):
        rows = load_rows(runs, stored=stored)
        comparison = compare_rows(rows, against=against, partial=partial)
        page = write_files(comparison, out, quoted=quoted)
    print_damage({loaded.folder: len(loaded.damage) for row in rows for loaded in row.runs})
    print_table(console, *terminal_rows(comparison))
    if (official := official_table(comparison)).rows:
        print_table(console, *official)
    for line in (headline(comparison), *comparison.notes, f"page     {page}"):
        console.print(line, soft_wrap=True)
    if as_json:
        typer.echo(to_json(comparison))
    return comparison
