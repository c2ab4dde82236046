"""Judges' words to numbers: what is read, and what is not."""

from __future__ import annotations

import pytest

from milr.rules.judgements import final_score, json_verdict, without_reasoning, zero_or_minus_one

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
     '{"inner": {"Score": 0}}', '{"Score": -10}', "{" * 3000],
)  # fmt: skip
def test_no_json_verdict(answer: str) -> None:
    assert json_verdict(answer) is None


@pytest.mark.parametrize(
    ("answer", "value"),
    [("0", 1.0), ("-1", 0.0), (" -1\n", 0.0), ("**0**", 1.0), ("Score:-1", 0.0), ("0.", 1.0), ("(-1)", 0.0),
     ("-1 or 0", 0.0), ("0 or -1", 1.0), ("of 10 points: -1", 0.0), ("<0>", 1.0), ("'-1'", 0.0),
     ("**-1** (not 0: no dog)", 0.0), ("The picture fails: -1. I repeat: -1", 0.0)],
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
    ],
)
def test_numbers_that_merely_contain_one_and_both_at_once_are_not_read(answer: str) -> None:
    assert zero_or_minus_one(answer) is None


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
    ],
)
def test_final_scores(answer: str, value: float) -> None:
    assert final_score(answer) == pytest.approx(value)


@pytest.mark.parametrize(
    "answer",
    ["", "5", "Final Score:", "Final Score: 4/5", "**Final Score:** 4", "Final Score:\n4", "final score: 4",
     "Final Score: 0.99", "Final Score: 5.01", "Final Score: nan", "Final Score: 1e0", "Final Score: -3",
     "Final Score: 4 of 5", "Final Score: 9\nFinal Score: 4"],
)  # fmt: skip
def test_no_final_score(answer: str) -> None:
    assert final_score(answer) is None


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert json_verdict('{"Score": 0.0}') == 1.0 and json_verdict('{"Score": -1.0}') == 0.0
    assert json_verdict('{"Score": 0.5}') is None
