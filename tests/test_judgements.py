"""Judges' words to numbers: what is read, and what is not."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milr.rules.judgements import final_score, json_verdict, without_reasoning, zero_or_minus_one
from milr.rules.wise import parse_marks

RIGHT = '{"Thought": "one {red} dog", "Score": 0, "Reason": ""}'
WRONG = '{"Thought": "a cat", "Score": -1, "Reason": "no dog"}'


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (RIGHT, 1.0),
        (WRONG, 0.0),
        (f"```json\n{WRONG}\n```", 0.0),
        (f"Let me see. {{It is}} a dog. {RIGHT} Done.", 1.0),
        (f"An example was {RIGHT}, but mine is {WRONG}", 0.0),
        ('{"Score": "-1"}', 0.0),
        ('{"Score": " 0 "}', 1.0),
        ('{"answer": 3} {"Score": 0}', 1.0),
    ],
)
def test_json_verdicts(answer: str, value: float) -> None:
    assert json_verdict(answer) == value


@pytest.mark.parametrize(
    "answer",
    ["", "0", "The score is 0.", "{}", '{"Score": 1}', '{"Score": false}', '{"Score": null}', '{"Score": [0]}',
     '{"score": 0}', '{"Score": 0.5}', '{"Thought": "I see a dog, and', RIGHT[:-1], "{'Score': 0}", '[0, "Score"]',
     '{"inner": {"Score": 0}}', '{"Score": -10}', "{" * 3000,
     '{"Score": ' + "9" * 5000 + "}", '{"Score": 1e999}', '{"Score": NaN}'],
)  # fmt: skip
def test_no_json_verdict(answer: str) -> None:
    assert json_verdict(answer) is None


@pytest.mark.parametrize(
    ("answer", "value"),
    [("0", 1.0), ("-1", 0.0), (" -1\n", 0.0), ("**0**", 1.0), ("Score:-1", 0.0), ("0.", 1.0), ("(-1)", 0.0),
     ("of 10 points: -1", 0.0), ("<0>", 1.0), ("'-1'", 0.0),
     ("**-1** (not 0: no dog)", 0.0), ("The picture fails: -1. I repeat: -1", 0.0),
     ("-1.0", 0.0), ("0.0", 1.0), ("\u22121", 0.0), ("Score: 0.0", 1.0), ("0 - all is there", 1.0),
     ("Two red stars.\n\n0", 1.0), ("0\nTwo red stars, 0 circles.", 1.0), ("My answer is **0**.", 1.0),
     ("Score (0 or -1): 0", 1.0), ("**Verdict:** -1", 0.0), ("I count 0 circles. Verdict: -1", 0.0),
     ("Not all is there, so -1.", 0.0), ('{"Score": 0}', 1.0)],
)  # fmt: skip
def test_zero_or_minus_one(answer: str, value: float) -> None:
    assert zero_or_minus_one(answer) == value


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "yes",
        "1",
        "10",
        "0.5",
        "-10",
        "-1.5",
        "0%",
        "0/10",
        "10/0",
        "0-10",
        "x0",
        "0x",
        "--1",
        "-0",
        "1.0",
        "I see 0 dogs, so -1",
        "Is it -1? No: 0",
        "0 or -1",
        "-1 or 0",
        "0, 1",
        "0 %",
    ],
)
def test_numbers_that_merely_contain_one_and_both_at_once_are_not_read(answer: str) -> None:
    assert zero_or_minus_one(answer) is None


@pytest.mark.parametrize(
    "answer",
    ["The picture shows 0 blue circles, so it does not fulfil the prompt.", "There are 0 circles. Verdict: wrong.",
     "It scores 0 out of 2.", "So far I count 0 blue circles and", "0 blue circles", "Blue circles: 0",
     "The number of circles is 0.", "I count 0.", "Score: 0 out of 2", "Score: 0/2", "0 (of 2)",
     "The score of 0 circles is bad.", "The answer is 0 circles."],
)  # fmt: skip
def test_a_count_is_no_verdict(answer: str) -> None:
    assert zero_or_minus_one(answer) is None


@pytest.mark.parametrize("read", [zero_or_minus_one, final_score, json_verdict])
@pytest.mark.parametrize(
    "answer", ["\n" * 200_000, "score " * 40_000, ":" + " " * 200_000, "0" * 200_000, "0 -1 " * 40_000, "{" * 200_000,
               '{"a":' * 40_000, '{"Score": ' + "9" * 5000 + "}", "final score" + " " * 200_000, "1\n" * 100_000],
    ids=lambda answer: repr(answer[:11]),
)  # fmt: skip
def test_long_answers_are_read_at_once(read: Callable[[str], float | None], answer: str) -> None:
    began = time.perf_counter()
    assert read(answer) is None
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(
    ("answer", "final"),
    [("0", "0"), ("<think>-1?</think>\n0", "\n0"), ("0 would do.</think> -1", " -1"), ("<think>It is 0, I", ""),
     ("<think>a</think> b <think>c</think>0", "0"), ("", ""), ("I think -1", "I think -1"), ("<think></think>", "")],
)  # fmt: skip
def test_reasoning_is_not_what_is_said(answer: str, final: str) -> None:
    assert without_reasoning(answer) == final


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("Final Score: 5", 1.0),
        ("Final Score: 1", 0.0),
        ("Final Score:3.0", 0.5),
        ("dog (object): 1\nFinal Score: 3.7\n", 0.675),
        ("The Final Score: 4.6 ", 0.9),
        ("Final Score: good\nFinal Score: 2", 0.25),
        ("Final Score: 4\nFinal Score: 1", 0.75),
        ("Final Score: 4\r\n", 0.75),
        ("**Final Score: 4**", 0.75),
        ("**Final Score:** 4", 0.75),
        ("Final Score: 4/5", 0.75),
        ("Final Score: 4 out of 5.", 0.75),
        ("4/5", 0.75),
        ("Poor.\n**4.6 / 5**", 0.9),
        ("final score: 4.", 0.75),
        ("Final Score (1-5): 4", 0.75),
        ("**Final Score:**\n4", 0.75),
    ],
)
def test_final_scores(answer: str, value: float) -> None:
    assert final_score(answer) == pytest.approx(value)


@pytest.mark.parametrize(
    "answer",
    ["", "5", "Final Score:", "Final Score: 4/10", "Final Score: 4 of the 5", "Final Score:\n4 dogs",
     "Final Score: 0.99", "Final Score: 5.01", "Final Score: nan", "Final Score: 1e0", "Final Score: -3",
     "Final Score: 9\nFinal Score: 4", "4/5\n3/5", "Final Score: " + "9" * 5000, "red ball: 4/5"],
)  # fmt: skip
def test_no_final_score(answer: str) -> None:
    assert final_score(answer) is None


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert json_verdict('{"Score": 0.0}') == 1.0 and json_verdict('{"Score": -1.0}') == 0.0
    assert json_verdict('{"Score": 0.5}') is None


PIECES = st.sampled_from(
    ["0", "-1", "\u22121", ".0", "score", ":", " is ", "final score", "4", "/5", "{", "}", '"Score"', "**", "\n", " ",
     "(", ")", "<think>", "</think>", "consistency", "realism", "aesthetic quality", "2", "1e999", "NaN"]
)  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(PIECES | st.text(max_size=3), max_size=15).map("".join))
def test_any_answer_is_a_score_in_range_or_none(answer: str) -> None:
    text = without_reasoning(answer)
    assert json_verdict(text) in (None, 0.0, 1.0) and zero_or_minus_one(text) in (None, 0.0, 1.0)
    value, marks = final_score(text), parse_marks(text)
    assert value is None or 0 <= value <= 1
    assert marks is None or not marks.in_range or 0 <= marks.wiscore <= 1


@pytest.mark.parametrize(
    "answer", ["consistency" + " " * 200_000 + "x", "score" + "()" * 100_000 + "x", "score is" + " " * 200_000 + "x"]
)
def test_what_repeats_without_end_is_read_at_once(answer: str) -> None:
    began = time.process_time()
    assert zero_or_minus_one(answer) is None and parse_marks(answer) is None and final_score(answer) is None
    assert time.process_time() - began < 2
