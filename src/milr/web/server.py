"""Runs the application, or tools over stdio: the session is loaded, the port bound, everything ended in order."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

from milr.options import Options
from milr.types import UsageError
from milr.web.app import make_app
from milr.web.limits import ServerSettings
from milr.web.served import Served
from milr.workflows.serving import ServingSession

SHORTEST_KEY = 16  # letters
CONNECTIONS = 1_000  # open at once; more are answered 503
KEEP_ALIVE = 30  # seconds that an idle connection stays; longer than those after which a busy server is asked again
PATIENCE = 5  # seconds for open connections when the server is told to end


def is_loopback(host: str) -> bool:
    """Whether an address to bind can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def read_key(file: Path | None, variable: str | None) -> str:
    """The API key in a file, else in the environment's variable; "" where there is none.

    UsageError where it is short or holds what no header can.
    """
    key = variable or ""
    if file is not None:
        try:
            key = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise UsageError(f"the API key's file {file} cannot be read as text: name another.") from None
    key = key.strip()
    if key and (len(key) < SHORTEST_KEY or not (key.isascii() and key.isprintable())):
        raise UsageError(f"an API key has at least {SHORTEST_KEY} plain letters; make one with: openssl rand -hex 24")
    if file is not None and not key:
        raise UsageError(f"the API key's file {file} is empty.")
    return key


def check_exposure(host: str, key: str) -> None:
    """UsageError where others could use the server without a key."""
    if not is_loopback(host) and not key:
        raise UsageError(f"others can reach {host}, so a key is needed: set MILR_API_KEY, or give --api-key-file.")


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens; UsageError where the address is taken or is none of this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio turns Nagle's delay (40 ms an answer) off only where it is.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), port))
        listener.listen(256)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or "there is no such port"
        raise UsageError(f"{host}, port {port}, cannot be served ({reason}): choose another --port or --host."
                         ) from None  # fmt: skip
    return listener


def serve_stdio(options: Options, settings: ServerSettings) -> None:
    """Load the model and serve tools to the process that reads our output, until it closes our input."""
    with _session(options, settings) as session:
        asyncio.run(_serve_stdio(session, settings))


async def _serve_stdio(session: ServingSession, settings: ServerSettings) -> None:
    from milr.web.mcp_server import make_mcp_server

    served = Served(session, settings)
    try:
        await make_mcp_server(served).run_stdio_async()
    finally:
        await served.searches.close()


def _session(options: Options, settings: ServerSettings) -> ServingSession:
    chosen = {
        name: value
        for name in Options.__dataclass_fields__
        if name not in ("model", "samples") and (value := getattr(options, name)) != getattr(Options(), name)
    }
    return ServingSession(options.model, processes=settings.processes, **chosen)


def serve(options: Options, settings: ServerSettings, listener: socket.socket,
          on_ready: Callable[[str], Any]) -> None:  # fmt: skip
    """Load the model and serve until a signal ends it; `on_ready(address)` is called when requests are answered."""
    host, port = listener.getsockname()[:2]
    with _session(options, settings) as session:
        config = uvicorn.Config(make_app(session, settings), log_level="warning", access_log=False, lifespan="on",
                                server_header=False, limit_concurrency=CONNECTIONS, proxy_headers=False,
                                timeout_graceful_shutdown=PATIENCE, timeout_keep_alive=KEEP_ALIVE)  # fmt: skip
        on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        uvicorn.Server(config).run([listener])
