"""File systems that are full, out of inodes, read-only, or become so while a run goes on."""

from __future__ import annotations

import random
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.process import Command, Ended, run
from tests.faults.runs import BrokenRun, difference, lost, state
from tests.faults.tally import Tally

AMPLE = "size=64m,nr_inodes=10000"


def can_mount(folder: Path) -> bool:
    """Whether small file systems can be made here; it takes root."""
    try:
        with _mounted(folder / "probe", AMPLE):
            return True
    except subprocess.CalledProcessError:
        return False


def fill_up(tally: Tally, broken: BrokenRun, moment: random.Random, count: int, duration: float) -> None:
    """Runs on file systems of random sizes; with room they go on to the undisturbed result."""
    for number in range(count):
        options, kind = [
            (f"size={moment.randrange(8, 160)}k,nr_inodes=10000", "full file system"),
            (f"size=64m,nr_inodes={moment.randrange(3, 90)}", "out of inodes"),
            (AMPLE, "read-only from some moment on"),
        ][number % 3]
        with _mounted(broken.folder / "disk", options) as disk:
            out = disk / "run"
            timer = threading.Timer(moment.uniform(0.1, 0.9) * duration, _remount, (disk, "ro"))
            if options == AMPLE:
                timer.start()
            ended = run(Command(broken.into(out), broken.folder))
            timer.cancel()
            timer.join() if options == AMPLE else None
            before = state(out)
            _remount(disk, f"rw,{AMPLE}")
            again = run(Command(broken.into(out), broken.folder))
            problem = _problem(again) or difference(out, broken.whole)
            tally.add(kind, ended, lost=lost(before, state(out)), problem=problem, detail=options)


def limit_files(tally: Tally, broken: BrokenRun, moment: random.Random, count: int) -> None:
    """No file may grow beyond a random size; without the limit the run goes on to the undisturbed result."""
    for number in range(count):
        out, limit = broken.folder / f"limited-{number}", moment.randrange(200, 60_000)
        ended = run(Command(broken.into(out), broken.folder, file_bytes=limit))
        before = state(out)
        again = run(Command(broken.into(out), broken.folder))
        tally.add("files limited in size", ended, lost=lost(before, state(out)),
                  problem=_problem(again) or difference(out, broken.whole), detail=f"{limit} bytes")  # fmt: skip


def _problem(ended: Ended) -> str:
    return "" if ended.code == 0 else f"the same command then ends with {ended.code}: {ended.err[-300:]}"


@contextmanager
def _mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=False, capture_output=True)


def _remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=False, capture_output=True)
