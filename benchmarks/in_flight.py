"""Pictures a second against searches in flight, and that the tokens stay the same: `python benchmarks/in_flight.py`.

One process, the same prompts and seed in every row; each row runs MILR (joint, at most `pictures` pictures,
stop at success) in memory. The first row is the ratio's base. Tokens may differ only at a near tie on record.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Annotated

import typer

from milr.options import Options
from milr.shapes.splits import prompts
from milr.types import Outcome
from milr.workflows.prepare import PreparedRun, prepare
from milr.workflows.running import run


def timed(prepared: PreparedRun, in_flight: int) -> tuple[list[Outcome], float]:
    """All outcomes, and the seconds they took together."""
    began = time.perf_counter()
    outcomes = asyncio.run(run(replace(prepared, options=replace(prepared.options, in_flight=in_flight))))
    return outcomes, time.perf_counter() - began


def differing(one: Outcome, other: Outcome) -> str:
    """ "" for the same tokens, "tie" where the first difference is at a near tie on record, else "differs"."""
    for left, right in zip(one.steps, other.steps, strict=False):
        ours, theirs = left.rollout, right.rollout
        for a, b in ((ours.visualisation, theirs.visualisation), (ours.image, theirs.image)):
            if a and b and a.ids != b.ids:
                place = next(i for i, (x, y) in enumerate(zip(a.ids, b.ids, strict=False)) if x != y)
                return "tie" if place in a.near_ties + b.near_ties else "differs"
    return "" if len(one.steps) == len(other.steps) else "differs"


def main(
    count: Annotated[int, typer.Option(help="How many prompts of the hard split.")] = 64,
    pictures: int = 4,
    widths: Annotated[str, typer.Option(help="Searches in flight, with commas between.")] = "1,8,32",
) -> None:
    """Measure and print the table."""
    chosen = prompts("hard")
    every = [chosen[place * len(chosen) // count] for place in range(count)]
    prepared = prepare(every, Options(reward="detector", pictures=pictures))
    timed(replace(prepared, prompts=prepared.prompts[:2]), 2)  # warm
    base: list[Outcome] = []
    rate = 0.0
    typer.echo("| in flight | pictures | seconds | pictures a second | ratio | same tokens | near ties | differ |")
    typer.echo("|---" * 8 + "|")
    for width in map(int, widths.split(",")):
        outcomes, seconds = timed(prepared, width)
        made = sum(len(one.steps) for one in outcomes)
        base, rate = base or outcomes, rate or made / seconds
        found = [differing(one, other) for one, other in zip(base, outcomes, strict=True)]
        typer.echo(f"| {width} | {made} | {seconds:.1f} | {made / seconds:.1f} | {made / seconds / rate:.1f} | "
                   f"{found.count('')} | {found.count('tie')} | {found.count('differs')} |")  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
