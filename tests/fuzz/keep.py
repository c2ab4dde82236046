"""Which inputs are worth keeping: few and small ones that together run as many lines of milr as all of them."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fuzz.calling import problem_of
from fuzz.targets import Target

MOST, LARGEST = 12, 2000  # inputs of a target, and bytes of one
Lines = set[tuple[str, int]]


def choose(target: Target, contents: Iterable[bytes]) -> list[bytes]:
    """At most MOST inputs of at most LARGEST bytes: the best first, until no other adds a line to what seeds run."""
    covered = {content: _lines(target, content) for content in sorted(set(contents), key=lambda each: (len(each), each))
               if len(content) <= LARGEST}  # fmt: skip
    chosen: list[bytes] = []
    seen = set().union(*(_lines(target, content) for content in target.seeds))
    while covered and len(chosen) < MOST:
        best = max(covered, key=lambda content: (len(covered[content] - seen), -len(content)))
        if not covered[best] - seen:
            break
        seen |= covered.pop(best)
        chosen.append(best)
    return chosen


def _lines(target: Target, content: bytes) -> Lines:
    """The pairs of file and line of milr that the target runs."""
    lines: Lines = set()

    def trace(frame: Any, event: str, argument: Any) -> Any:
        if "/src/milr/" not in frame.f_code.co_filename:
            return None
        lines.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    with tempfile.TemporaryDirectory() as folder:
        sys.settrace(trace)
        try:
            problem_of(target, content, Path(folder))
        finally:
            sys.settrace(None)
    return lines
