"""What a client may ask of a server at most, and what is served."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Limits:
    """The most that clients may ask for: letters of a prompt, pictures of a search, samples (`n`) of a request, bytes
    of a body, pixels of a picture that is sent, tokens of an answer; requests at work, and requests that wait."""

    prompt: int = 2_000
    pictures: int = 64
    samples: int = 10
    body: int = 8 * 2**20
    pixels: int = 2**24
    answer_tokens: int = 1_024
    active: int = 64
    waiting: int = 256


@dataclass(frozen=True)
class ServerSettings:
    """How to serve. `key` "": none is asked for. `loopback`: bound to this machine alone, so that the Host header is
    checked; `host` is a name of this machine, too. `options` hold for every search, but for what a client may choose.
    `mcp`: tools for agents at /mcp; `open_reading`: those that only read ask for no key."""

    out: Path
    key: str = ""
    loopback: bool = True
    host: str = "127.0.0.1"
    limits: Limits = Limits()
    options: dict[str, Any] = field(default_factory=dict)
    processes: bool = True
    mcp: bool = False
    open_reading: bool = False
