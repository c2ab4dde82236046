"""WISE's rules (arXiv 2503.07265; PKU-YuanGroup/WISE eb51174), pure: the judge's marks, WiScore, WISE_Verified's
verdict, and the editions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from milr.types import UsageError

_VERDICT = re.compile(r"Score:\s*([01])")
_VERDICT_ALONE = re.compile(r"^[^\S\n]*([01])[^\S\n]*$", re.MULTILINE)
CRITERIA = ("consistency", "realism", "aesthetic quality")
_LINE = re.compile(r"\*{0,2}(consistency|realism|aesthetic quality)\*{0,2}\s*+(?::\s*+)?(\d)", re.IGNORECASE)
_DIGIT_ALONE = re.compile(r"^[^\S\n]*([012])[^\S\n]*$", re.MULTILINE)


@dataclass(frozen=True)
class Marks:
    """The judge's three marks: whole numbers that should be 0, 1 or 2, though any digit is read."""

    consistency: int
    realism: int
    aesthetic: int

    @property
    def in_range(self) -> bool:
        """Whether all three are 0, 1 or 2, as the judge's instructions say."""
        return max(self.consistency, self.realism, self.aesthetic) <= 2

    @property
    def wiscore(self) -> float:
        """(0.7 C + 0.2 R + 0.1 A) / 2, in [0, 1] for marks in range.

        Computed from whole numbers with a single division: 2, 2, 2 is exactly 1.0 and 1, 1, 1 exactly 0.5, where the
        official sum ends in ...9. So a comparison with a threshold needs no tolerance.
        """
        return (7 * self.consistency + 2 * self.realism + self.aesthetic) / 20


@dataclass(frozen=True)
class Edition:
    """A list of WISE prompts: which ids belong to which category.

    The overall score weighs each category by its share of the prompts (0.4, 0.167, ...). So it is the plain mean over
    all prompts, and needs every one of them (`missing`).
    """

    name: str
    categories: Mapping[str, range]


LEGACY = Edition("wise", {
    "culture": range(1, 401), "time": range(401, 568), "space": range(568, 701),
    "biology": range(701, 801), "physics": range(801, 901), "chemistry": range(901, 1001),
})  # fmt: skip
VERIFIED = Edition("wise-verified", {
    "culture": range(1, 401), "time": range(401, 521), "space": range(521, 641),
    "biology": range(641, 761), "physics": range(761, 881), "chemistry": range(881, 1001),
})  # fmt: skip
EDITIONS = {edition.name: edition for edition in (LEGACY, VERIFIED)}


def parse_marks(answer: str) -> Marks | None:
    """The marks in a judge's answer, read exactly as the official tool reads them; None unless there are all three.

    Case does not matter; two asterisks may stand before and after a criterion's name, then one colon and blanks; of a
    number only the first digit counts, and a later line overwrites an earlier one. Where no criterion was read at all,
    the first three lines that hold only 0, 1 or 2 count in the criteria's order.
    """
    marks = {name.lower(): int(digit) for name, digit in _LINE.findall(answer)}
    if not marks:
        marks = dict(zip(CRITERIA, map(int, _DIGIT_ALONE.findall(answer)), strict=False))
    return Marks(*(marks[name] for name in CRITERIA)) if len(marks) == len(CRITERIA) else None


def parse_verdict(answer: str) -> int | None:
    """WISE_Verified's one mark in a judge's answer; None where there is none.

    That is the digit 0 or 1 after the first "Score:" that has one, else the first line that is nothing but 0 or 1.
    """
    found = _VERDICT.search(answer) or _VERDICT_ALONE.search(answer)
    return int(found[1]) if found else None


def category_of(number: int, edition: Edition) -> str:
    """The category of a prompt's id; UsageError for an id that the edition does not have."""
    for name, ids in edition.categories.items():
        if number in ids:
            return name
    raise UsageError(f"{edition.name} has no prompt {number}; its ids are 1 to 1000.")


def missing(scores: Mapping[int, float], edition: Edition) -> list[int]:
    """The edition's ids that have no score, in order."""
    return [number for ids in edition.categories.values() for number in ids if number not in scores]
