"""WISE's rules (PKU-YuanGroup/WISE eb51174): the judge's three lines, WiScore, and which prompts there are; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from milr.types import UsageError

CRITERIA = ("consistency", "realism", "aesthetic quality")
_LINE = re.compile(r"\*{0,2}(consistency|realism|aesthetic quality)\*{0,2}\s*:?\s*(\d)", re.IGNORECASE)
_DIGIT_ALONE = re.compile(r"^[^\S\n]*([012])[^\S\n]*$", re.MULTILINE)


@dataclass(frozen=True)
class Marks:
    """What the judge gave: three whole numbers, meant to be 0, 1 or 2, but any digit can be read."""

    consistency: int
    realism: int
    aesthetic: int

    @property
    def possible(self) -> bool:
        """Whether all three are 0, 1 or 2, as the judge is asked for."""
        return max(self.consistency, self.realism, self.aesthetic) <= 2

    @property
    def wiscore(self) -> float:
        """(0.7 C + 0.2 R + 0.1 A) / 2, in [0, 1] for possible marks.

        Divided once, out of whole numbers: 2, 2, 2 is exactly 1.0 and 1, 1, 1 exactly 0.5, where the official sum
        ends in ...9, so a comparison with a threshold needs no tolerance.
        """
        return (7 * self.consistency + 2 * self.realism + self.aesthetic) / 20


@dataclass(frozen=True)
class Edition:
    """A list of WISE prompts: which ids belong to which category.

    In the overall score a category weighs as its share of the prompts (0.4, 0.167, ...), so that it is the plain mean
    over all of them; it needs every one (`missing`).
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


def parse(answer: str) -> Marks | None:
    """The marks in a judge's answer, read exactly as the official tool reads them; None when they are not all there.

    Case does not matter; two asterisks may stand before and after a criterion's name, then one colon and blanks; of a
    number only the first digit counts, and a later line overwrites an earlier one. Where not one criterion was read,
    the first three lines that are nothing but 0, 1 or 2 count in the criteria's order.
    """
    found = {name.lower(): int(digit) for name, digit in _LINE.findall(answer)}
    if not found:
        found = dict(zip(CRITERIA, map(int, _DIGIT_ALONE.findall(answer)), strict=False))
    return Marks(*(found[name] for name in CRITERIA)) if len(found) == len(CRITERIA) else None


def category_of(number: int, edition: Edition) -> str:
    """The category of a prompt's id; UsageError for an id that the edition does not have."""
    for name, ids in edition.categories.items():
        if number in ids:
            return name
    raise UsageError(f"{edition.name} has no prompt {number}; its ids are 1 to 1000.")


def missing(scores: Mapping[int, float], edition: Edition) -> list[int]:
    """The edition's ids that have no score, in order."""
    return [number for ids in edition.categories.values() for number in ids if number not in scores]
