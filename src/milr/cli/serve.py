"""`milr serve`: a page, and OpenAI's image and chat protocol, over one loaded model."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from milr.cli.flags import with_flags
from milr.options import Options
from milr.types import MissingError

PACKAGES = ("starlette", "uvicorn", "prometheus_client")


@with_flags("samples", "in_flight")
def serve(
    host: Annotated[str, typer.Option(help="Where to listen. Others than this machine need an API key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any that is free.")] = 8000,
    out: Annotated[Path, typer.Option(help="Every request is kept there as a run folder.")] = Path("milr-serve"),
    api_key_file: Annotated[
        Path | None, typer.Option(help="A file with the key that clients send. Default: the variable MILR_API_KEY.")
    ] = None,
    *,
    options: Options,
) -> None:
    """Serve the model: a page to draw with, OpenAI's image and chat API, Prometheus's metrics.

    The other flags hold for every request that does not choose for itself.
    """
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        raise MissingError(f"milr serve needs the package {missing[0]}: pip install 'milr[web]'.")
    from milr.web import server
    from milr.web.limits import ServerSettings

    key = server.read_key(api_key_file, os.environ.get("MILR_API_KEY"))
    server.check_exposure(host, key)
    with server.bind(host, port) as listener:
        settings = ServerSettings(out, key, loopback=server.is_loopback(host), host=host.strip("[]"))
        server.serve(options, settings, listener, _on_ready)


def _on_ready(address: str) -> None:
    typer.echo(f"milr serves {address} (Ctrl-C ends it)")
