"""WISE's parsing and scores, by cases worked out by hand."""

from __future__ import annotations

import pytest

from milr.rules.wise import LEGACY, VERIFIED, Marks, category_of, missing, parse_marks, parse_verdict
from milr.types import UsageError

THREE = "Consistency: 2\nRealism: 1\nAesthetic Quality: 0"
READ = Marks(2, 1, 0)


@pytest.mark.parametrize(
    "answer",
    [
        THREE,
        THREE.upper(),
        "aesthetic quality: 0, realism: 1, consistency: 2",
        "**Consistency**: 2\n*Realism*: 1\n**Aesthetic Quality** 0",
        "Consistency 2\nRealism1\nAesthetic Quality  :  0",
        "Consistency:\n2\nRealism:\n1\nAesthetic Quality:\n0",
        f"I looked closely.\n{THREE}\nThat is all.",
        "Consistency: 20\nRealism: 1.9\nAesthetic Quality: 0/2",
        f"Consistency: 0\nRealism: 0\n{THREE}",
    ],
)
def test_what_is_read(answer: str) -> None:
    assert parse_marks(answer) == READ


@pytest.mark.parametrize(
    "line",
    ["**Consistency:** 2", "Consistency - 2", "Consistency (0-2): 2", '"Consistency": 2', "Consistency = 2",
     "Consistency:: 2", "Consistency：2", "***Consistency*** 2", "Consistency: two", "Consistent: 2"],
)  # fmt: skip
def test_what_is_not_read(line: str) -> None:
    assert parse_marks(f"{line}\nRealism: 1\nAesthetic Quality: 0") is None
    assert parse_marks(f"{line}\nConsistency: 2\nRealism: 1\nAesthetic Quality: 0") == READ


def test_any_digit_is_read_but_not_possible() -> None:
    marks = parse_marks("Consistency: 7\nRealism: 1\nAesthetic Quality: 0")
    assert marks == Marks(7, 1, 0) and not marks.in_range
    assert Marks(2, 2, 2).in_range and not Marks(0, 3, 0).in_range and not Marks(0, 0, 3).in_range


@pytest.mark.parametrize(
    ("answer", "marks"),
    [
        ("2\n1\n0", READ),
        (" 2 \n\n\t1\n0\n2\n2", READ),
        ("Here they are:\n2\n1\n0", READ),
        ("2\r\n1\r\n0\r\n", READ),
        ("2\n1", None),
        ("2\n3\n0", None),
        ("3\n2\n1\n0", READ),
        ("2 1 0", None),
        ("12\n1\n0", None),
        ("Consistency: 2\n2\n1\n0", None),
        ("", None),
    ],
)
def test_bare_digits_count_only_where_no_criterion_was_read(answer: str, marks: Marks | None) -> None:
    assert parse_marks(answer) == marks


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("Score: 1", 1),
        ("Score: 0", 0),
        ("I see salt.\nScore: 1\n", 1),
        ("Score: 2\nScore: 1", 1),
        ("Score: 1, not Score: 0", 1),
        ("Score:0", 0),
        ("1", 1),
        ("It is there.\n 0 \n", 0),
        ("0\nScore: 1", 1),
        ("score: 1", None),
        ("The score is 1", None),
        ("10", None),
        ("", None),
    ],
)
def test_the_one_mark_of_wise_verified(answer: str, verdict: int | None) -> None:
    assert parse_verdict(answer) == verdict


@pytest.mark.parametrize(
    ("marks", "score"),
    [((2, 2, 2), 1.0), ((1, 1, 1), 0.5), ((0, 0, 0), 0.0), ((1, 1, 2), 0.55), ((2, 0, 0), 0.7), ((1, 0, 0), 0.35),
     ((0, 2, 0), 0.2), ((0, 0, 1), 0.05), ((1, 0, 1), 0.4)],
)  # fmt: skip
def test_wiscore_has_no_rounding_in_it(marks: tuple[int, int, int], score: float) -> None:
    assert Marks(*marks).wiscore == score


@pytest.mark.parametrize(
    ("last", "first", "edition"),
    [((400, "culture"), (401, "time"), LEGACY), ((567, "time"), (568, "space"), LEGACY),
     ((700, "space"), (701, "biology"), LEGACY), ((800, "biology"), (801, "physics"), LEGACY),
     ((900, "physics"), (901, "chemistry"), LEGACY), ((400, "culture"), (401, "time"), VERIFIED),
     ((520, "time"), (521, "space"), VERIFIED), ((640, "space"), (641, "biology"), VERIFIED),
     ((760, "biology"), (761, "physics"), VERIFIED), ((880, "physics"), (881, "chemistry"), VERIFIED)],
)  # fmt: skip
def test_categories_begin_and_end_at_their_ids(last, first, edition) -> None:  # type: ignore[no-untyped-def]
    assert category_of(last[0], edition) == last[1] and category_of(first[0], edition) == first[1]
    assert category_of(1, edition) == "culture" and category_of(1000, edition) == "chemistry"


@pytest.mark.parametrize("number", [0, 1001, -1])
def test_other_ids_are_refused(number: int) -> None:
    with pytest.raises(UsageError, match="1 to 1000"):
        category_of(number, LEGACY)


def test_what_is_missing_is_told_in_order() -> None:
    scores = dict.fromkeys(range(1, 1001), 0.5)
    assert missing(scores, LEGACY) == []
    del scores[568], scores[1000]
    assert missing(scores, LEGACY) == [568, 1000]
