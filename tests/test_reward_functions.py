"""A user's reward function that misbehaves costs its judgement, or ends the run in one sentence that says where."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
import time
from typing import Any

import pytest
from PIL import Image

from milr.engine.studio import Studio
from milr.models.janus import JanusModel
from milr.options import Options
from milr.rewards.function import FunctionReward
from milr.rewards.vision import judge_thread
from milr.rewards.vision.judge_thread import JudgeThread
from milr.types import JudgeError, Prompt, Score, UsageError
from scripted import Brightness

PICTURE, PROMPT = Image.new("RGB", (4, 4)), Prompt("a cat")


class Own(BaseException):
    """What no `except Exception` catches."""


def judged(function: Any, seconds: float | None = None) -> Score:
    reward = FunctionReward(function, "mine", seconds)
    (score,) = asyncio.run(reward.score([PICTURE], [PROMPT], None))  # type: ignore[arg-type]
    return score


@pytest.mark.parametrize("result", [None, math.nan, "good", "0.8", b"1", 2, -0.1, [], {}, 1j, 10**400, math.inf])
def test_what_is_no_score_is_unscored_and_quoted(result: Any) -> None:
    score = judged(lambda picture, prompt: result)
    assert score.value is None and score.reason.startswith(f"mine gave {repr(result)[:80]}")


@pytest.mark.parametrize("result", [0, 1, 0.5, True])
def test_numbers_are_scores(result: Any) -> None:
    assert judged(lambda picture, prompt: result).value == float(result)


def test_an_exception_is_unscored_with_file_and_line() -> None:
    def fails(picture: Any, prompt: Prompt) -> float:
        return 1 / 0

    line = fails.__code__.co_firstlineno + 1
    assert judged(fails).reason == f"mine gave no score: ZeroDivisionError: division by zero ({__file__}, line {line})"


@pytest.mark.parametrize(("error", "words"), [(SystemExit(7), "SystemExit: 7"), (Own("no"), "Own: no"),
                                              (KeyboardInterrupt(), "KeyboardInterrupt")])  # fmt: skip
def test_what_would_end_the_program_is_a_sentence_with_file_and_line(error: BaseException, words: str) -> None:
    def leaves(picture: Any, prompt: Prompt) -> float:
        raise error

    with pytest.raises(UsageError) as caught:
        judged(leaves)
    assert f"mine raised {words} ({__file__}, line {leaves.__code__.co_firstlineno + 1})" in str(caught.value)


def test_a_reward_object_that_calls_exit_does_not_end_the_loop(tiny: JanusModel) -> None:
    class Leaves(Brightness):
        async def score(self, *arguments: Any) -> list[Score]:
            sys.exit(5)

    with pytest.raises(JudgeError, match=r"the reward brightness broke \(SystemExit: 5 \(.*test_reward_functions.py"):
        asyncio.run(Studio(tiny, Leaves()).score(PICTURE, PROMPT))


@pytest.mark.parametrize("score", [Score("good"), Score(0.5, {"a": "b"}), Score(0.5, None), Score(math.nan),  # type: ignore[arg-type]
                                   Score(10**400)])  # fmt: skip
def test_a_score_of_no_numbers_is_unscored(tiny: JanusModel, score: Score) -> None:
    class Odd(Brightness):
        async def score(self, *arguments: Any) -> list[Score]:
            return [score]

    checked = asyncio.run(Studio(tiny, Odd()).score(PICTURE, PROMPT))
    assert checked.value is None and "scores are numbers in [0, 1]" in checked.reason and not checked.parts


# A limit on time


def test_what_takes_too_long_is_unscored_and_holds_up_nobody() -> None:
    calls: list[int] = []

    def hangs_once(number: int) -> Score:
        calls.append(number)
        if number == 1:
            time.sleep(3)
        return Score(0.5)

    async def go() -> list[Score]:
        thread = JudgeThread("the eye", seconds=0.3)
        return await asyncio.gather(*(thread.score(hangs_once, number) for number in range(4)))

    began = time.monotonic()
    scores = asyncio.run(go())
    assert time.monotonic() - began < 2
    assert [score.value for score in scores] == [0.5, None, 0.5, 0.5] and calls == [0, 1, 2, 3]
    assert scores[1].reason == "the eye took longer than 0.3 s (--reward-seconds)" and scores[1].seconds == 0.3


def test_time_in_the_queue_does_not_count() -> None:
    async def go() -> list[Score]:
        thread = JudgeThread("the eye", seconds=0.5)
        return await asyncio.gather(*(thread.score(lambda: time.sleep(0.1) or Score(1.0)) for _ in range(10)))

    assert [score.value for score in asyncio.run(go())] == [1.0] * 10


def test_the_thread_ends_when_nothing_comes_and_another_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_thread, "IDLE_SECONDS", 0.05)
    thread = JudgeThread("idle eye")
    for _ in range(2):
        assert asyncio.run(thread.score(lambda: Score(1.0))).value == 1.0
        deadline = time.monotonic() + 5
        while any(other.name == "milr-judge idle eye" for other in threading.enumerate()):
            assert time.monotonic() < deadline
            time.sleep(0.02)


# Limits on counts


@pytest.mark.parametrize(("name", "value"), [("samples", 10**11), ("in_flight", 10**400), ("threads", 10**9),
                                             ("reward_seconds", 0.0), ("reward_seconds", math.nan)])  # fmt: skip
def test_counts_have_limits_that_are_told(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=name) as caught:
        Options(**{name: value})
    assert len(str(caught.value)) < 120


def test_many_in_flight_are_as_many_as_there_is_work() -> None:
    assert Options(in_flight=3_000_000).in_flight == 3_000_000
