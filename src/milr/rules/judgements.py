"""The answers of judges in words, parsed into scores in [0, 1]; pure. None: the answer cannot be read (unscored)."""

from __future__ import annotations

import json
import re
from typing import Any

_DECODER = json.JSONDecoder()
_STANDING_ALONE = re.compile(r"(?<![\w./-])(-1|0)(?![\w%/]|[.,-]\d)")
_OPENING_MARKS = " \n\t*_'\"`(<["  # which may stand before an answer
_FINAL_SCORE = "Final Score:"
_DECIMAL = re.compile(r"\d+(?:\.\d+)?")
_VALUES = {"0": 1.0, "-1": 0.0}


def without_reasoning(answer: str) -> str:
    """The answer without the reasoning that a model may write before it (<think>...</think>); "" where that is all."""
    final = answer.rpartition("</think>")[2]
    return "" if final.lstrip().startswith("<think>") else final


def json_verdict(answer: str) -> float | None:
    """1.0 for {"Score": 0}, 0.0 for {"Score": -1}: the self reward's answer.

    The object may stand alone, in a code fence or within prose; of several the last counts, since a model that thinks
    aloud decides last. MILR reads nothing but a bare object, and takes any other answer for -1.
    """
    scores = [verdict["Score"] for verdict in _json_objects(answer) if "Score" in verdict]
    if not scores or isinstance(scores[-1], bool):
        return None
    last = scores[-1]
    return _VALUES.get(f"{last:g}" if isinstance(last, float) else str(last).strip())


def _json_objects(text: str) -> list[dict[str, Any]]:
    """Every outermost JSON object in a text, in order."""
    objects: list[dict[str, Any]] = []
    start = text.find("{")
    while start >= 0:
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (json.JSONDecodeError, RecursionError):
            end = start + 1
        else:
            objects.append(value)
        start = text.find("{", end)
    return objects


def zero_or_minus_one(answer: str) -> float | None:
    """1.0 for "0" (the picture is right), 0.0 for "-1": the first of them that stands alone.

    Where none stands alone MILR takes any 0 or -1 within other numbers, so that "10" passes; here that is None. So is
    an answer with both numbers that begins with neither ("I see 0 dogs, so -1"), which MILR does not foresee.
    """
    numbers = _STANDING_ALONE.findall(answer)
    unambiguous = len(set(numbers)) == 1 or (numbers and answer.lstrip(_OPENING_MARKS).startswith(numbers[0]))
    return _VALUES[numbers[0]] if unambiguous else None


def final_score(answer: str) -> float | None:
    """UnifiedReward's 1 to 5 as (value - 1) / 4, in [0, 1].

    The first line counts that has "Final Score:" and then nothing but a decimal number; None for a number outside 1
    to 5.
    """
    for line in answer.splitlines():
        _, label, rest = line.partition(_FINAL_SCORE)
        if label and _DECIMAL.fullmatch(rest.strip()):
            value = float(rest)
            return (value - 1) / 4 if 1 <= value <= 5 else None
    return None
