"""What judges answer in words, read into numbers; pure. None: the answer says nothing that can be read (unscored)."""

from __future__ import annotations

import json
import re
from typing import Any

_DECODER = json.JSONDecoder()
_ALONE = re.compile(r"(?<![\w./-])(-1|0)(?![\w%/]|[.,-]\d)")
_MARKS = " \n\t*_'\"`(<["  # which may stand before an answer
_FINAL_SCORE = "Final Score:"
_DECIMAL = re.compile(r"\d+(?:\.\d+)?")
_VALUES = {"0": 1.0, "-1": 0.0}


def spoken(answer: str) -> str:
    """The answer without the reasoning that a model may write before it (<think>...</think>); "" where that is all."""
    said = answer.rpartition("</think>")[2]
    return "" if said.lstrip().startswith("<think>") else said


def json_verdict(answer: str) -> float | None:
    """1.0 for {"Score": 0}, 0.0 for {"Score": -1}: the self reward's answer.

    The object may stand alone, in a code fence or within prose; of several the last counts, since a model that thinks
    aloud decides last. MILR reads nothing but a bare object, and takes whatever else it gets for -1.
    """
    scores = [found["Score"] for found in _objects(answer) if "Score" in found]
    if not scores or isinstance(scores[-1], bool):
        return None
    last = scores[-1]
    return _VALUES.get(f"{last:g}" if isinstance(last, float) else str(last).strip())


def _objects(text: str) -> list[dict[str, Any]]:
    """Every outermost JSON object in a text, in order."""
    found: list[dict[str, Any]] = []
    start = text.find("{")
    while start >= 0:
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (json.JSONDecodeError, RecursionError):
            end = start + 1
        else:
            found.append(value)
        start = text.find("{", end)
    return found


def zero_or_minus_one(answer: str) -> float | None:
    """1.0 for "0" (the picture is right), 0.0 for "-1": the first of them that stands alone.

    MILR goes on to any 0 or -1 inside other numbers when none stands alone, so that "10" passes; here that is None, as
    are both numbers in one answer that begins with neither ("I see 0 dogs, so -1"), for which MILR leaves no room.
    """
    found = _ALONE.findall(answer)
    sure = len(set(found)) == 1 or (found and answer.lstrip(_MARKS).startswith(found[0]))
    return _VALUES[found[0]] if sure else None


def final_score(answer: str) -> float | None:
    """UnifiedReward's 1 to 5 as (value - 1) / 4, in [0, 1].

    The first line with "Final Score:" that goes on with nothing but a decimal number counts; a number outside 1 to 5 is
    None.
    """
    for line in answer.splitlines():
        _, mark, rest = line.partition(_FINAL_SCORE)
        if mark and _DECIMAL.fullmatch(rest.strip()):
            value = float(rest)
            return (value - 1) / 4 if 1 <= value <= 5 else None
    return None
