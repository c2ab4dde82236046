"""One `milr` command in a process of its own that starts in milliseconds: a fork of a server that has imported torch.

What can kill a command kills a real process here: signals, limits of memory and files, closed pipes.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PRELOADED = ["torch", "transformers.models.janus.modeling_janus", "milr.cli.app", "milr.cli.progress",
             "milr.models.nano", "milr.models.loading", "milr.workflows.session", "milr.workflows.stored",
             "milr.report.compare.page", "milr.report.html", "matplotlib.figure", "openai"]  # fmt: skip
DOCUMENTED = {0, 2, 3, 4, 129, 130, 143}
TIMEOUT = 120.0


@dataclass(frozen=True)
class Command:
    """What is run, where, and under which conditions.

    `memory_bytes` limits what it may take beyond what it begins with, `file_bytes` the size of a file it writes;
    `stdout` is a path (or a device) in place of its output; `setup` runs in the process before the command.
    """

    arguments: Sequence[str]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    memory_bytes: int = 0
    file_bytes: int = 0
    stdout: str = ""
    setup: Callable[[], None] | None = None


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (the negative signal where one killed it), and what it printed."""

    code: int
    out: str
    err: str
    seconds: float
    timed_out: bool = False

    @property
    def traceback(self) -> bool:
        """Whether it showed one."""
        return "Traceback (most recent call last)" in self.out + self.err

    @property
    def documented(self) -> bool:
        """Whether it ended with an exit code that the pages name."""
        return self.code in DOCUMENTED and not self.timed_out


def context() -> Any:
    """The fork server, which is started once."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(PRELOADED)
    return server


def run(command: Command, *, kill_after: float | None = None, signals: Sequence[int] = (signal.SIGKILL,),
        kill: Callable[[int], None] | None = None) -> Ended:  # fmt: skip
    """Run a command to its end; after `kill_after` seconds send it the signals (or call `kill` with its process id)."""
    log = command.folder / f".log-{threading.get_ident()}-{time.monotonic_ns()}"
    process = context().Process(target=_main, args=(command, str(log)))
    began = time.monotonic()
    process.start()
    timed_out = False
    if kill_after is not None:
        process.join(kill_after)
        with contextlib.suppress(ProcessLookupError):
            if process.is_alive():
                for number in signals if kill is None else ():
                    os.kill(process.pid, number)
                    time.sleep(0.002)
                if kill is not None:
                    kill(process.pid)
    process.join(TIMEOUT)
    if process.is_alive():
        timed_out = True
        process.kill()
        process.join()
    texts = []
    for name in (f"{log}.out", f"{log}.err"):
        path = Path(name)
        texts.append(path.read_text(errors="replace") if path.exists() else "")
        path.unlink(missing_ok=True)
    return Ended(process.exitcode, texts[0], texts[1], time.monotonic() - began, timed_out)


def _main(command: Command, log: str) -> None:
    """The process: redirect, limit, and be `milr`."""
    os.setsid()
    os.chdir(command.folder)
    os.environ.update(command.environment)
    for number, path in ((1, command.stdout or f"{log}.out"), (2, f"{log}.err"), (0, os.devnull)):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND
        opened = os.open(path, flags if not path.startswith("/dev/") else os.O_RDWR)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
    if command.memory_bytes:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + command.memory_bytes,) * 2)
    if command.file_bytes:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (command.file_bytes,) * 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import torch

    torch.set_num_threads(1)
    sys.argv = ["milr", *command.arguments]
    if command.setup:
        command.setup()
    from milr.cli import main

    main()
