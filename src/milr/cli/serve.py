"""`milr serve` and `milr mcp`: a page, OpenAI's image and chat protocol, tools for agents, over one loaded model."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from milr.cli.flags import with_flags
from milr.options import WHERE, Options
from milr.types import MissingError, UsageError

PACKAGES = ("starlette", "uvicorn", "prometheus_client")
OUT = Path("milr-serve")
Runs = Annotated[Path, typer.Option(help="Every request is kept there as a run folder.")]


@with_flags("samples", "in_flight", *WHERE)
def serve(
    host: Annotated[str, typer.Option(help="Where to listen. Others than this machine need an API key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any that is free.")] = 8000,
    out: Runs = OUT,
    api_key_file: Annotated[
        Path | None, typer.Option(help="A file with the key that clients send. Default: the variable MILR_API_KEY.")
    ] = None,
    mcp: Annotated[bool, typer.Option("--mcp", help="Also serve tools for agents, by MCP at /mcp.")] = False,
    open_reading: Annotated[
        bool, typer.Option("--open-reading", help="With --mcp: tools that look at past runs need no API key.")
    ] = False,
    *,
    options: Options,
) -> None:
    """Serve the model: a page to draw with, OpenAI's image and chat API, Prometheus's metrics.

    The other flags hold for every request that does not choose for itself.
    """
    _check_packages("milr serve", "web", *PACKAGES)
    if mcp:
        _check_packages("milr serve --mcp", "mcp", "mcp")
    elif open_reading:
        raise UsageError("--open-reading is about the tools of --mcp: give both, or neither.")
    from milr.web import server
    from milr.web.limits import ServerSettings

    key = server.read_key(api_key_file, os.environ.get("MILR_API_KEY"))
    server.check_exposure(host, key)
    with server.bind(host, port) as listener:
        settings = ServerSettings(out, key, loopback=server.is_loopback(host), host=host.strip("[]"), mcp=mcp,
                                  open_reading=open_reading)  # fmt: skip
        server.serve(options, settings, listener, _on_ready)


@with_flags("samples", "in_flight", *WHERE)
def mcp(out: Runs = OUT, *, options: Options) -> None:
    """Serve tools for agents (draw, judge, look at runs) over stdio, by the Model Context Protocol.

    A client starts this command itself. The other flags hold for every request that does not choose for itself.
    """
    _check_packages("milr mcp", "mcp", "mcp", *PACKAGES)
    from milr.web import server
    from milr.web.limits import ServerSettings

    server.serve_stdio(options, ServerSettings(out))


def _check_packages(command: str, extra: str, *packages: str) -> None:
    for package in packages:
        if find_spec(package) is None:
            raise MissingError(f"{command} needs the package {package}: pip install 'milr[{extra}]'.")


def _on_ready(address: str) -> None:
    typer.echo(f"milr serves {address} (Ctrl-C ends it)")
