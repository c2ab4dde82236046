"""What to say to a name that nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from milr.types import UsageError


def nearest_name(name: str, known: Sequence[str]) -> str:
    """ "did you mean X?" or the list of what there is."""
    close = difflib.get_close_matches(name, known, 1, 0.5)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}."


def one_of(kind: str, name: str, known: Sequence[str]) -> str:
    """`name`, or a UsageError with the nearest known one."""
    if name not in known:
        raise UsageError(f"no {kind} is called {name!r}; {nearest_name(name, list(known))}")
    return name
