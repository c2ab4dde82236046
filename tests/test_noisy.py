"""The judge that errs on purpose: at the stated rates, repeatably, and never about what is unscored."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from PIL import Image

from milr import catalog
from milr.options import Options
from milr.rewards.function import FunctionReward
from milr.rewards.noisy import NoisyReward, keyed_uniform, parse
from milr.types import Prompt, Score, UsageError

PROMPT = Prompt("a red star")


def picture(shade: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(shade).integers(0, 255, (8, 8, 3), dtype=np.uint8))


def scores(value: float | Score, miss: float, pass_: float, seed: int = 0, count: int = 400) -> list[Score]:
    judge = NoisyReward(FunctionReward(lambda picture, prompt: value, "fixed"), miss, pass_, seed=seed)
    pictures = [picture(shade) for shade in range(count)]
    return asyncio.run(judge.score(pictures, [PROMPT] * count, None))  # type: ignore[arg-type]


@pytest.mark.parametrize(("value", "flipped", "rate"), [(1.0, 0.0, 0.3), (0.0, 1.0, 0.1), (0.5, 1.0, 0.1)])
def test_right_and_wrong_pictures_are_mistaken_at_their_own_rates(value: float, flipped: float, rate: float) -> None:
    results = scores(value, 0.3, 0.1)
    share = np.mean([score.value == flipped for score in results])
    assert abs(share - rate) < 4 * (rate * (1 - rate) / 400) ** 0.5
    assert all(score.value in (value, flipped) for score in results)
    assert not any(score.parts or score.reason for score in results)  # neither tells which ones are mistaken


def test_asking_again_gives_the_same_answer_and_another_seed_or_prompt_another() -> None:
    first = [score.value for score in scores(1.0, 0.5, 0.5)]
    assert first == [score.value for score in scores(1.0, 0.5, 0.5)]
    assert first != [score.value for score in scores(1.0, 0.5, 0.5, seed=1)]
    assert keyed_uniform(picture(0), PROMPT, 0) != keyed_uniform(picture(0), Prompt("a star"), 0)
    assert keyed_uniform(picture(0), PROMPT, 0) != keyed_uniform(picture(1), PROMPT, 0)


def test_rates_of_zero_and_one() -> None:
    assert all(score.value == 1 for score in scores(1.0, 0, 1, count=50))
    assert all(score.value == 0 for score in scores(1.0, 1, 0, count=50))
    assert all(score.value == 1 for score in scores(0.5, 0, 1, count=50))


def test_what_could_not_be_judged_stays_so() -> None:
    assert all(score.value is None for score in scores(Score.unscored("no eyes"), 1, 1, count=5))


@pytest.mark.parametrize("name", ["noisy", "noisy:", "noisy:0.1", "noisy:a,b", "noisy:0.1,0.2,0.3", "noisy:2,0"])
def test_other_rates_are_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(UsageError, match="noisy:0.1,0.2"):
        catalog.make_reward(name, None, Options())


def test_the_name_says_the_rates() -> None:
    assert parse("noisy:0.1,0.25") == (0.1, 0.25)
    reward = catalog.make_reward("noisy:0.1,0.25", None, Options())
    assert reward.name == "noisy:0.1,0.25" and "shapes" in reward.needs
    assert catalog.reward_identity("noisy:0.1,0.25") != catalog.reward_identity("detector") != {}
    assert catalog.reward_identity("self")
