"""How long it takes to report, compare, check and resume runs with many records, and how much memory each needs.

`python -m benchmarks.many_records [FOLDER] [RECORDS]` makes two runs of nano, one as `milr bench` and one as `milr
generate` does, from a few real searches under many prompts, and prints a line for each command.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from milr.benchmarks.geneval import GenEval
from milr.options import Options
from milr.runs.store import RunStore
from milr.shapes.grammar import to_prompt
from milr.shapes.scenes import COLOURS, FILLS, SHAPES
from milr.types import Key, Outcome
from milr.workflows.prepare import PreparedRun, prepare
from milr.workflows.prompts import read_prompts
from milr.workflows.running import run

SEARCHES = 32  # that are really made; all records repeat them under other prompts
CHOICES = {"reward": "held-out", "metric": "detector", "steps": 4, "stop": False, "threads": 1}
FLAGS = ["--reward", "held-out", "--metric", "detector", "--steps", "4", "--no-stop", "--threads", "1"]


def write_prompts(path: Path, num_prompts: int) -> None:
    """A file of as many prompts in GenEval's format, all of them in nano's words."""
    things = [f"a {fill} {colour} {shape}" for shape in SHAPES for colour in COLOURS for fill in FILLS]
    texts = (f"a photo of {first} and {second}" for first, second in itertools.product(things, things))
    prompts = (prompt for prompt in map(to_prompt, texts) if prompt)
    path.write_text("".join(json.dumps(prompt.metadata) + "\n" for prompt in itertools.islice(prompts, num_prompts)))


def prepare_runs(prompts: Path) -> dict[str, PreparedRun]:
    """What `commands` ask for, by the name of the folder."""
    options, benchmark = Options(**CHOICES), GenEval(prompts)  # type: ignore[arg-type]
    first = prepare(benchmark.prompts(), options, benchmark=benchmark)
    return {"bench": first, "generate": prepare(read_prompts(prompts), options, model=first.model)}


def write_run(folder: Path, prepared: PreparedRun, outcomes: Sequence[Outcome]) -> None:
    """A finished run that has one of `outcomes` at every prompt."""
    with RunStore(folder).open(prepared.config(), prepared.prompts, request=prepared.request) as store:
        for prompt, outcome in zip(prepared.prompts, itertools.cycle(outcomes)):  # noqa: B905 - it has no end
            store.write(dataclasses.replace(outcome, prompt=prompt, key=Key(0, prompt.text)))


def make_runs(folder: Path, num_records: int) -> None:
    """The prompts and both runs; nothing is synced to the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    write_prompts(folder / "prompts.jsonl", num_records)
    runs = prepare_runs(folder / "prompts.jsonl")
    few = dataclasses.replace(runs["bench"], prompts=runs["bench"].prompts[:: max(1, num_records // SEARCHES)])
    outcomes = asyncio.run(run(few))
    os.fsync = lambda handle: None
    for name, prepared in runs.items():
        write_run(folder / name, prepared, outcomes)


def commands(folder: Path) -> dict[str, list[str]]:
    """The commands that are measured, by what they do."""
    bench, generate = str(folder / "bench"), str(folder / "generate")
    prompts = ["--prompts", str(folder / "prompts.jsonl"), *FLAGS]
    return {
        "report": ["report", bench],
        "compare": ["compare", bench, "--out", str(folder / "compared")],
        "doctor": ["doctor", bench],
        "bench again": ["bench", "geneval", *prompts, "--out", bench],
        "generate again": ["generate", *prompts, "--out", generate],
    }


def measure(what: str, arguments: list[str]) -> None:
    """Run a command in a process of its own; a line with its seconds and its largest resident memory."""
    start = time.perf_counter()
    process = os.posix_spawn(sys.executable, [sys.executable, "-m", "milr.cli", *arguments], os.environ,
                             file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])  # fmt: skip
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"milr {' '.join(arguments)} has failed")
    print(f"{what:28} {time.perf_counter() - start:6.1f} s ({usage.ru_utime + usage.ru_stime:.1f} s of CPU), "
          f"{usage.ru_maxrss / 1024:.0f} MiB", flush=True)  # fmt: skip


def main(folder: Path, num_records: int) -> None:
    """Make the runs where they are not there, measure each command, and resume both runs with one record missing."""
    if not (folder / "generate" / "run.json").exists():  # in another process: a child's peak begins at its parent's
        code = f"from benchmarks.many_records import *; make_runs(Path({str(folder)!r}), {num_records})"
        subprocess.run([sys.executable, "-c", code], check=True)
    for what, arguments in commands(folder).items():
        measure(what, arguments)
    one = ["generate", "a photo of a red star", *FLAGS, "--out", str(folder / f"one-{time.time_ns()}")]
    measure("a new run of one search", one)
    for name in ("bench", "generate"):
        next((folder / name / "records").glob("*.json")).unlink()
        measure(f"{name} again, one is missing", commands(folder)[f"{name} again"])
    print(f"page {(folder / 'bench' / 'report.html').stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()), int((sys.argv[2:] or ["5000"])[0]))
