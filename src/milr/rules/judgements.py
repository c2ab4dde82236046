"""The answers of judges in words, parsed into scores in [0, 1]; pure. None: the answer cannot be read (unscored).

A number is a verdict only where it stands for one, because a picture is also described in numbers ("0 blue circles").
"""

from __future__ import annotations

import json
import re
from typing import Any

MAX_JSON_CHARACTERS = 20_000  # of an answer that is searched for a JSON verdict; a longer one is not read
_DECODER = json.JSONDecoder()
_VALUES = {"0": 1.0, "-1": 0.0}

# A 0 or -1 that is a number of its own, also as 0.0 or with the typographic minus; no part of 10, 0.5, 0/2 or 0 %.
_NUMBER = (r"(?<![\w./%\u2013\u2212-])(?P<number>[-\u2212]1|0)(?:\.0+)?"
           r"(?!\w|\.\d|,\s*\d|\s*[/%]|\s*[-\u2013\u2212]\s*\d)")  # fmt: skip
_MARKS = r"\s*_'\"`(){}<>\[\]$#"  # white space, Markdown, quotation marks and brackets
_STOP = rf"(?=[{_MARKS}]*(?:[.,:;!\u2013\u2014-]|\n|\Z))"  # so that no noun follows, as in "0 blue circles"
_IN_LINE = r"[ \t*_'\"`(){}<>\[\]$#]*"
_LABEL = (r"(?:score|verdict|answer|rating|grade|result|judge?ment|evaluation|assessment|decision|conclusion|output"
          r"|response|final)")  # fmt: skip
_FIRST = re.compile(rf"\A[{_MARKS}]*{_NUMBER}{_STOP}")
_ALONE_ON_A_LINE = re.compile(rf"^{_IN_LINE}{_NUMBER}[ \t*_'\"`(){{}}<>\[\]$#.]*$", re.MULTILINE)
_LABELLED = re.compile(
    rf"\b{_LABEL}\b[{_MARKS}]{{0,60}}(?:\([^()\n]{{0,40}}\)[{_MARKS}]{{0,60}})?(?:[:\uff1a=]|\bis\b\s*+:?)[{_MARKS}]*+"
    rf"{_NUMBER}{_STOP}",
    re.IGNORECASE,
)
# No picture shows -1 of anything: it is a verdict after any colon, before a bracket, and as the last word.
_MINUS_ONE_FIRST = re.compile(rf"\A[{_MARKS}]*(?=[-\u2212]){_NUMBER}(?=[*_`]*\s*\()")
_MINUS_ONE_AFTER_COLON = re.compile(rf"[:\uff1a][{_MARKS}]*(?=[-\u2212]){_NUMBER}")
_MINUS_ONE_LAST = re.compile(rf"(?=[-\u2212]){_NUMBER}[{_MARKS}.,;!]*\Z")
_ZERO = re.compile(r"\b0\b")
_VERDICTS = (_FIRST, _ALONE_ON_A_LINE, _LABELLED, _MINUS_ONE_FIRST, _MINUS_ONE_AFTER_COLON)

_FINAL_SCORE = re.compile(
    r"final\s+score[\s*_`\"']*(?:\([^()\n]{0,20}\)[\s*_`\"']*)?(?:[:\uff1a=]|\bis\b)[\s*_`\"'(\[]*"
    r"(?P<value>\d+(?:\.\d+)?)(?:[ \t]*(?:/|out of|of)[ \t]*5(?:\.0+)?)?[ \t\r*_`\"')\]},.]*$",
    re.IGNORECASE | re.MULTILINE,
)
_OF_FIVE = re.compile(r"^[ \t*_`\"']*(?P<value>\d+(?:\.\d+)?)[ \t]*/[ \t]*5(?:\.0+)?[ \t\r*_`\"'.]*$", re.MULTILINE)


def without_reasoning(answer: str) -> str:
    """The answer without the reasoning that a model may write before it (<think>...</think>); "" where that is all."""
    final = answer.rpartition("</think>")[2]
    return "" if final.lstrip().startswith("<think>") else final


def json_verdict(answer: str) -> float | None:
    """1.0 for {"Score": 0}, 0.0 for {"Score": -1}: the self reward's answer.

    The object may stand alone, in a code fence or within prose; of several the last counts, since a model that thinks
    aloud decides last. MILR reads nothing but a bare object, and takes any other answer for -1.
    """
    if len(answer) > MAX_JSON_CHARACTERS:
        return None
    scores = [verdict["Score"] for verdict in _json_objects(answer) if "Score" in verdict]
    if not scores or isinstance(scores[-1], bool) or not isinstance(scores[-1], (int, float, str)):
        return None
    last = scores[-1]
    return _VALUES.get(f"{last:g}" if isinstance(last, float) else _without_zeros(str(last).strip()))


def _without_zeros(number: str) -> str:
    """-1 for -1.0, and so on; any other text as it is."""
    return re.sub(r"\A(-1|0)\.0+\Z", r"\1", number)


def _json_objects(text: str) -> list[dict[str, Any]]:
    """Every outermost JSON object in a text, in order."""
    objects: list[dict[str, Any]] = []
    start = text.find("{")
    while start >= 0:
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, or too deep
            end = start + 1
        else:
            objects.append(value)
        start = text.find("{", end)
    return objects


def zero_or_minus_one(answer: str) -> float | None:
    """1.0 for "0" (the picture is right), 0.0 for "-1", where the number stands for a verdict.

    That is: first in the answer and followed by a stop, alone on a line, or after the name of a verdict ("Score: 0",
    "my answer is -1"). A -1, which is no count, may also follow any colon, or end an answer without a 0. None where no
    number stands so, or where both do. MILR takes any 0 or -1, even within other numbers, so that "10" passes.
    """
    verdicts = {_number(match) for pattern in _VERDICTS for match in pattern.finditer(answer)}
    if not verdicts and not _ZERO.search(answer) and _MINUS_ONE_LAST.search(answer):
        return _VALUES["-1"]
    return _VALUES[verdicts.pop()] if len(verdicts) == 1 else None


def _number(match: re.Match[str]) -> str:
    return match["number"].replace("\u2212", "-")


def final_score(answer: str) -> float | None:
    """UnifiedReward's 1 to 5 as (value - 1) / 4, in [0, 1].

    The first "Final Score:" counts that is followed by nothing but a decimal number, perhaps with "/5", in any case
    and any Markdown; without one, a single line that is nothing but a fraction of 5. None for a number outside 1 to 5.
    """
    match = _FINAL_SCORE.search(answer)
    values = [match["value"]] if match else [fraction["value"] for fraction in _OF_FIVE.finditer(answer)]
    value = float(values[0]) if len(values) == 1 else 0.0
    return (value - 1) / 4 if 1 <= value <= 5 else None
