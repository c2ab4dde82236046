"""`milr serve` in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


@contextmanager
def serving(out: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and the server's address; it is told to end after the block, where it has not ended."""
    with subprocess.Popen(
        [sys.executable, "-m", "milr.cli", "serve", "--port", "0", "--out", str(out), *flags], stdout=subprocess.PIPE,
        text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, cwd=out.parent,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().split()[2]
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(30)
