"""UniGenBench++'s rules (arXiv 2510.18701; CodeGoat24/UniGenBench 49d0bce), pure: marks and accuracies."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Sequence
from typing import Any

from milr.rules.official_scores import JudgedPicture, OfficialScore, means_by

MAX_ANSWER = 20_000  # characters that are read
_ANALYSIS = re.compile(r"<analysis>(.*?)</analysis>", re.DOTALL)
_SCORE = re.compile(r"<score>(.*?)</score>", re.DOTALL)


def parse_marks(answer: str, count: int) -> list[int] | None:
    """The marks, 0 or 1, of `count` test points; None where the answer has not as many analyses and marks as these.

    Both are lists, in the first pair of tags of each kind, in Python's notation.
    """
    if len(answer) > MAX_ANSWER:
        return None
    analyses, marks = (_list_in(pattern, answer) for pattern in (_ANALYSIS, _SCORE))
    if analyses is None or marks is None or len(analyses) != count or len(marks) != count:
        return None
    return [int(mark) for mark in marks] if all(type(mark) is int and mark in (0, 1) for mark in marks) else None


def _list_in(pattern: re.Pattern[str], answer: str) -> list[Any] | None:
    found = pattern.search(answer)
    try:
        with warnings.catch_warnings(action="ignore"):  # about a backslash in a string
            value = ast.literal_eval(found[1].strip()) if found else None
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    return value if isinstance(value, list) else None


def dimension(test_point: str) -> str:
    """The dimension of a test point: "Attribute" of "Attribute - Color"; "Style" is one itself."""
    return test_point.partition("-")[0].strip()


def part_name(position: int, test_point: str) -> str:
    """The name of a test point's mark among the parts; with its number, because a test point may stand twice."""
    return f"{position + 1}. {test_point}"


def official_scores(pictures: Sequence[JudgedPicture]) -> list[OfficialScore]:
    """The accuracies times 100, pooled over all test points of all pictures: by dimension, then by test point."""
    marks: list[tuple[str, float]] = []
    for picture in pictures:
        for index, point in enumerate(picture.metadata["testpoints"]):
            marks.append((point, picture.parts[part_name(index, point)]))
    marks.sort()
    dimensions = sorted((dimension(point), mark) for point, mark in marks)
    names = {name for name, _ in dimensions}
    return [*means_by(dimensions), *means_by(each for each in marks if each[0] not in names)]
