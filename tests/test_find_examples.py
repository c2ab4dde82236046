"""What counts as an example of MILR's work: each condition alone decides, on outcomes made by hand."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from milr.shapes.grammar import parse
from milr.types import ImageTrace, Outcome, Score
from outcomes import outcome

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from find_examples import Comparison, short_prompts, summary  # noqa: E402

WRONG, RIGHT = Score(0.0), Score(1.0)


def frozen(scores: tuple[float, ...] = (0.0, 0.25, 0.5)) -> Outcome:
    """A search without updates that fails unless told otherwise; its tokens are its own."""
    failed = outcome(scores=scores, judged={0: WRONG, 2: WRONG})
    return replace(failed, steps=tuple(
        replace(step, rollout=replace(step.rollout, image=ImageTrace((7, 7, step.index), near_ties=())))
        for step in failed.steps
    ))  # fmt: skip


def searched(scores: tuple[float, ...] = (0.0, 1.0), **judged: Score) -> Outcome:
    """A search with updates whose second picture is right."""
    return outcome(scores=scores, judged={0: judged.get("first", WRONG), 1: judged.get("returned", RIGHT)})


def test_a_search_that_succeeds_where_frozen_fails_is_an_example() -> None:
    comparison = Comparison(searched(), frozen())
    assert comparison.is_example and not comparison.is_opposite
    assert "MILR right in 1, frozen in 0; only MILR in 1 (the examples), only frozen in 0" in summary([comparison])


def test_either_judge_can_say_that_the_first_picture_was_right() -> None:
    assert not Comparison(searched(first=RIGHT), frozen()).is_example
    assert not Comparison(searched(scores=(1.0, 1.0)), frozen()).is_example


def test_both_judges_have_to_accept_what_is_returned() -> None:
    assert not Comparison(searched(returned=WRONG), frozen()).is_example
    assert not Comparison(searched(scores=(0.0, 0.5)), frozen()).is_example


def test_frozen_must_fail_and_differ_in_tokens() -> None:
    assert not Comparison(searched(), frozen((0.0, 0.25, 1.0))).is_example
    assert not Comparison(searched(), replace(frozen(), judged={0: WRONG, 2: RIGHT})).is_example
    same_tokens = outcome(scores=(0.0, 0.25), judged={0: WRONG, 1: WRONG})
    assert not Comparison(searched(), same_tokens).is_example


def test_the_opposite_case_is_counted() -> None:
    lucky = replace(frozen((0.0, 0.25, 1.0)), judged={0: WRONG, 2: RIGHT})
    comparison = Comparison(searched(scores=(0.0, 0.5), returned=WRONG), lucky)
    assert comparison.is_opposite and not comparison.is_example


def test_near_ties_count_up_to_the_returned_picture() -> None:
    comparison = Comparison(searched(), frozen())
    assert comparison.near_ties == 2 * (1 + 2) + 3 * 1  # two steps with text and image ties, three with a text's


def test_short_prompts_are_different_and_of_this_world() -> None:
    texts = short_prompts(40)
    assert len(set(texts)) == 40 and texts == short_prompts(40)
    assert all(parse(text) for text in texts)
