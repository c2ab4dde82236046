"""`milr serve` in a process of its own, or its application on a socket of this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from milr.web.limits import ServerSettings
    from milr.web.served import Served
    from milr.workflows.serving import ServingSession

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


@contextmanager
def served_on_a_socket(session: ServingSession, settings: ServerSettings) -> Iterator[tuple[str, Served]]:
    """The address of a server in a thread of this process, and what it serves."""
    import uvicorn

    from milr.web import server
    from milr.web.app import make_app

    app = make_app(session, settings)
    with server.bind("127.0.0.1", 0) as listener:
        one = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
        thread = threading.Thread(target=one.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", app.state.served
        finally:
            one.should_exit = True
            thread.join(10)
