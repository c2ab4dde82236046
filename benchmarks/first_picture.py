"""CPU seconds to a first picture, here and at another commit in turn: `python -m benchmarks.first_picture OTHER`.

OTHER is a checkout of the other version. Two tables: `milr generate` with one prompt, from nothing to its written
report, and what a picture costs of searches one after the other, and of 32 in flight, in one process with one thread.
Times are user and system seconds of the whole process, which other programs change less than the clock.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

PROMPT = "a photo of a red star left of a blue circle"
HERE = Path(__file__).parents[1]
SEARCHES = """
import asyncio, hashlib, json, sys, time
from dataclasses import replace
from milr.options import Options
from milr.shapes.splits import prompts
from milr.workflows.prepare import prepare
from milr.workflows.running import run

in_flight, count = map(int, sys.argv[1:])
hard = prompts("hard")
chosen = [hard[place * len(hard) // count] for place in range(count)]
options = Options(method="latent_reasoning", reward="detector", pictures=4, threads=1, in_flight=in_flight)
prepared = prepare(chosen, options)
asyncio.run(run(replace(prepared, prompts=prepared.prompts[:2])))
start = time.process_time()
outcomes = asyncio.run(run(prepared))
seconds = time.process_time() - start
steps = [step.rollout for outcome in outcomes for step in outcome.steps]
tokens = hashlib.sha256(repr([(step.visualisation and step.visualisation.ids, step.image and step.image.ids)
                              for step in steps]).encode()).hexdigest()
print(json.dumps([seconds / len(steps), tokens]))
"""


def python(checkout: Path, arguments: Sequence[str]) -> tuple[float, str]:
    """The CPU seconds of a Python process with the package of `checkout`, and its output."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([sys.executable, *arguments], check=True, env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, ended.stdout


def first_picture(checkout: Path) -> float:
    """The CPU seconds of `milr generate`, and of all that it loads."""
    with tempfile.TemporaryDirectory() as folder:
        return python(checkout, ["-m", "milr.cli", "generate", PROMPT, "--out", f"{folder}/run"])[0]


def picture_of_searches(checkout: Path, in_flight: int, count: int, tokens: set[str]) -> float:
    """The CPU seconds that a picture costs; `tokens` receives a hash of all tokens."""
    seconds, digest = json.loads(python(checkout, ["-c", SEARCHES, str(in_flight), str(count)])[1].splitlines()[-1])
    tokens.add(digest)
    return float(seconds)


def compare(what: str, measure: Callable[[Path], float], other: Path, rounds: int) -> None:
    """Measure both in turn, and print a row with the medians and the ratio of each round."""
    pairs = [(measure(other), measure(HERE)) for _ in range(rounds)]
    ratios = sorted(before / now for before, now in pairs)
    before, now = (median(side) for side in zip(*pairs, strict=True))
    typer.echo(f"| {what} | {before:.3f} | {now:.3f} | {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |")


def main(
    other: Path,
    rounds: Annotated[int, typer.Option(help="How often both are measured.")] = 3,
    searches: Annotated[int, typer.Option(help="Searches of the hard split; 0: the first picture alone.")] = 32,
    widths: Annotated[str, typer.Option(help="Searches in flight, with commas between.")] = "1,32",
) -> None:
    """Measure and print the table."""
    typer.echo("| CPU seconds | other | here | ratio |\n|---|---|---|---|")
    compare("first picture of `milr generate`", first_picture, other, rounds)
    for in_flight in map(int, widths.split(",") if searches else []):
        tokens: set[str] = set()
        compare(f"a picture, {in_flight} in flight",
                lambda checkout, width=in_flight, found=tokens: picture_of_searches(checkout, width, searches, found),
                other, rounds)  # type: ignore[misc]  # fmt: skip
        typer.echo(f"Tokens with {in_flight} in flight: {'the same' if len(tokens) == 1 else 'NOT the same'}.")


if __name__ == "__main__":
    typer.run(main)
