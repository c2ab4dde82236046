"""Processes killed at random moments: the command, its workers, reports and exports while they are written."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
from pathlib import Path

from tests.faults.process import Command, Ended, run
from tests.faults.runs import BrokenRun, difference, lost, state
from tests.faults.tally import Tally

from milr.engine import process_pool

SIGNALS = [(signal.SIGKILL,)] * 6 + [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGINT,) * 5, (signal.SIGHUP,)]
DERIVED = (["report", "{run}"], ["compare", "{run}", "--out", "{run}/../compared"],
           ["export", "{run}", "--layout", "geneval", "--to", "{run}/../exported"])  # fmt: skip


def kill_searches(tally: Tally, run_to_break: BrokenRun, moment: random.Random, kills: int, duration: float) -> None:
    """Kill the search again and again until so many kills hit; each completed run must equal the undisturbed one."""
    kind, folder, done = "kill a search", 0, 0
    while done < kills:
        out = run_to_break.folder / f"killed-{folder}"
        before, signals = state(out), moment.choice(SIGNALS)
        after = moment.uniform(0.0, 0.7) * duration
        ended = run(Command(run_to_break.into(out), run_to_break.folder), kill_after=after, signals=signals)
        killed = _killed(ended)
        done += killed
        gone = lost(before, state(out))
        problem = ""
        if not killed:
            problem = difference(out, run_to_break.whole) if ended.code == 0 else ""
            shutil.rmtree(out, ignore_errors=True)
            folder += 1
        if killed or gone or problem or ended.code:
            detail = f"{signals[0].name} x{len(signals)} after {after:.2f} s"
            tally.add(kind, ended, lost=gone, killed=killed, problem=problem, detail=detail)
    out = run_to_break.folder / f"killed-{folder}"
    ended = run(Command(run_to_break.into(out), run_to_break.folder))
    tally.add("finish after kills", ended, problem=difference(out, run_to_break.whole))


def kill_derived(tally: Tally, run_to_break: BrokenRun, moment: random.Random, kills: int) -> None:
    """Kill what writes reports, comparisons and exports; records stay, and the same command then succeeds."""
    for number in range(kills):
        arguments = DERIVED[number % len(DERIVED)]
        out = run_to_break.copy("derived")
        command = Command([word.format(run=out) for word in arguments], run_to_break.folder)
        kind = f"kill {arguments[0]}"
        before = state(out)
        ended = run(command, kill_after=moment.uniform(0.0, 0.6))
        again = run(command)
        problem = "" if again.code == 0 else f"the same command then ends with {again.code}: {again.err[-300:]}"
        tally.add(kind, ended, lost=lost(before, state(out)), killed=_killed(ended), problem=problem)
        for name in ("compared", "exported"):
            shutil.rmtree(run_to_break.folder / name, ignore_errors=True)


def kill_workers(tally: Tally, run_to_break: BrokenRun, moment: random.Random, kills: int, duration: float) -> None:
    """Kill one process of the pool; the run goes on without it and ends as the undisturbed one."""
    for number in range(kills):
        out = run_to_break.folder / f"worker-{number}"
        victims: list[int] = []

        def kill(parent: int, victims: list[int] = victims) -> None:
            children = _children(parent)
            if children:
                victims.append(moment.choice(children))
                os.kill(victims[0], signal.SIGKILL)

        ended = run(Command([*run_to_break.into(out), "--threads", "2"], run_to_break.folder, setup=_use_a_pool),
                    kill_after=moment.uniform(0.2, 0.9) * duration, kill=kill)  # fmt: skip
        problem = difference(out, run_to_break.whole) if victims else "no worker was there to kill"
        tally.add("kill a worker", ended, problem=problem)
        shutil.rmtree(out, ignore_errors=True)


def _killed(ended: Ended) -> bool:
    return ended.code in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP, 128 + signal.SIGTERM,
                          128 + signal.SIGHUP, 130)  # fmt: skip


def _children(parent: int) -> list[int]:
    """The processes that any thread of `parent` started."""
    texts = []
    for path in Path(f"/proc/{parent}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            texts.append(path.read_text())
    return [int(word) for text in texts for word in text.split()]


def _use_a_pool() -> None:
    """A process on each core also for a run as small as ours."""
    process_pool.MIN_PICTURES = 0
