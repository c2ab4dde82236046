"""Judges beside the decode: `python benchmarks/overlap.py`.

Searches of MILR on hard prompts that never stop, judged by a reward that answers after so many seconds, as one behind
an endpoint does. In line, every search would wait for its judge before anybody decodes: the seconds without waiting,
and the waits of one search after the other. Beside each other, whoever has its answer goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer
from PIL.Image import Image

from milr.base import Services
from milr.options import Options
from milr.shapes.splits import prompts
from milr.types import Prompt, Score
from milr.workflows.prepare import prepare
from milr.workflows.running import run


class Slow:
    """Half a point for every picture, after `seconds`."""

    name, range, threshold, licence = "slow", (0.0, 1.0), 0.9, "Apache-2.0"
    needs: tuple[str, ...] = ()

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """Wait, and say so much."""
        await asyncio.sleep(self.seconds)
        return [Score(0.5) for _ in pictures]


def main(
    searches: int = 64,
    steps: int = 4,
    in_flight: int = 32,
    waits: Annotated[str, typer.Option(help="Seconds a judgement takes, with commas between.")] = "0,0.25,0.5,1,2",
) -> None:
    """Measure and print the table."""
    options = Options(reward="held-out", steps=steps, stop=False, in_flight=in_flight)
    prepared = prepare(prompts("hard")[:searches], options)
    rounds = -(-searches // in_flight) * (steps + 1)
    alone = 0.0
    typer.echo("| seconds a judgement | seconds | in line | saved | pictures a second |\n|---|---|---|---|---|")
    for wait in map(float, waits.split(",")):
        began = time.perf_counter()
        asyncio.run(run(replace(prepared, reward=Slow(wait), metric=None)))
        took = time.perf_counter() - began
        alone = alone or took
        line = alone + rounds * wait
        made = searches * (steps + 1)
        typer.echo(f"| {wait:g} | {took:.1f} | {line:.1f} | {1 - took / line:.0%} | {made / took:.1f} |")


if __name__ == "__main__":
    typer.run(main)
