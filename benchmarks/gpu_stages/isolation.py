"""Runs one stage in a process of its own, which is ended when its time is up: what it found until then counts.

An error of CUDA ends all work of its process, and a stage may leave memory capped or a capture broken. The processes
are forked from one that has imported torch and touched no GPU, so that each starts in a fraction of a second.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from gpu_stages.plan import Stage, load

MOST_TEXT = 300  # characters of an error
GPU = 7  # the exit code that says that there is one


class Isolation:
    """Runs stages, one after another. `has_gpu`: whether torch sees one."""

    def __init__(self) -> None:
        folder = str(Path(__file__).parents[1])
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["gpu_stages.finding"])
        first = self._context.Process(target=_look_for_gpu)  # which imports, so that no stage's time is spent so
        first.start()
        first.join()
        self.has_gpu = first.exitcode == GPU

    def run(self, stage: Stage, size: str, seconds: float) -> dict[str, Any]:
        """What the stage found: findings, whether it passed or was skipped, seconds."""
        began, received = time.monotonic(), list[dict[str, Any]]()
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_work, args=(theirs, stage, size), daemon=True)
        process.start()
        theirs.close()
        end: dict[str, Any] = {"error": f"no end within {seconds:.0f} seconds"}
        while ours.poll(max(0.0, began + seconds - time.monotonic())):
            try:
                message = ours.recv()
            except EOFError:
                process.join(5)
                end = {"error": f"its process ended with {process.exitcode}"}
                break
            if "end" in message:
                end = message["end"]
                break
            received.append(message)
        process.join(1)
        process.kill()
        passed = "error" not in end and all(finding["passed"] is not False for finding in received)
        return {"number": stage.number, "passed": passed, **end, "seconds": round(time.monotonic() - began, 2),
                "findings": received}  # fmt: skip


def _look_for_gpu() -> None:
    """Not in the process that runs the stages: it would take memory of the GPU there."""
    import torch

    sys.exit(GPU if torch.cuda.is_available() else 0)


def _work(connection: Connection, stage: Stage, size: str) -> None:
    """Send each finding as it comes, then {"end": ...} with why the stage was skipped or failed."""
    sys.stdout = sys.stderr  # progress bars and warnings of libraries: not among the results
    end: dict[str, str] = {}
    try:
        from gpu_stages.finding import Card, Skipped

        arguments = () if stage.argument is None else (stage.argument,)
        try:
            for finding in load(stage.function)(Card(size), *arguments):
                connection.send(asdict(finding))
        except Skipped as reason:
            end = {"skipped": str(reason)}
    except BaseException as error:  # the other stages still say something
        end = {"error": f"{type(error).__name__}: {str(error)[:MOST_TEXT]}"}
    connection.send({"end": end})
    connection.close()
