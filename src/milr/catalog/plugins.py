"""What installed packages offer, read once: a look through all of them takes longer than nano draws a picture."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib import metadata


def entry_points(group: str) -> tuple[metadata.EntryPoint, ...]:
    """The entry points of a group; read again where the search path has changed."""
    return _entry_points(group, tuple(map(str, sys.path)))


@lru_cache(maxsize=32)
def _entry_points(group: str, path: tuple[str, ...]) -> tuple[metadata.EntryPoint, ...]:
    return tuple(metadata.entry_points(group=group))
