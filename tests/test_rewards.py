"""The detector and the self judge as rewards."""

import asyncio

import numpy as np
import pytest
from PIL import Image

from milr.base import Reward
from milr.rewards.detector import DetectorReward
from milr.rewards.held_out import HeldOutReward
from milr.rewards.self import SelfReward
from milr.shapes.drawing import draw_scene
from milr.shapes.grammar import to_prompt
from milr.shapes.scenes import Appearance, Item, Scene
from milr.types import Answer, Prompt, UsageError

STAR = Image.fromarray(draw_scene(Scene(((Item(Appearance("star", "red"), 5),),))))


class Answering:
    """Services that answer with `yes`, or fail."""

    def __init__(self, yes=0.8, error=None):
        self.yes, self.error, self.questions = yes, error, []

    async def answer(self, picture, question):
        self.questions.append(question)
        if self.error:
            raise self.error
        return Answer("yes", self.yes, seconds=0.25)


def scores(reward, pictures, prompts, services=None):
    return asyncio.run(reward.score(pictures, prompts, services or Answering()))


@pytest.mark.parametrize("reward", [DetectorReward(), HeldOutReward(), SelfReward(str.upper)])
def test_they_are_rewards(reward):
    assert isinstance(reward, Reward)
    assert reward.range == (0.0, 1.0) and reward.threshold == 0.9 and reward.licence


@pytest.mark.parametrize("make", [DetectorReward, HeldOutReward])
def test_a_judge_of_shapes_scores_each_picture_by_its_own_prompt(make):
    prompts = [to_prompt("a red star"), to_prompt("a blue star"), to_prompt("a striped star")]
    results = scores(make(), [STAR] * 3, prompts)
    assert [score.value for score in results] == [1.0, 0.0, 0.5]
    assert "blue" in results[1].reason and results[2].parts == {"star found": 1.0, "star fill": 0.0}


def test_the_detector_leaves_other_sizes_unscored():
    (score,) = scores(DetectorReward(), [STAR.resize((32, 32))], [to_prompt("a star")])
    assert score.value is None and "64 x 64" in score.reason


def test_the_detector_refuses_what_the_grammar_cannot_read():
    with pytest.raises(UsageError, match="--reward self"):
        scores(DetectorReward(), [STAR], [Prompt("a cat on a mat")])


def test_the_self_judge_asks_about_the_prompt():
    services = Answering(0.8)
    (score,) = scores(SelfReward(lambda text: f"is it {text}?"), [STAR], [Prompt("a star")], services)
    assert services.questions == ["is it a star?"]
    assert score.value == 0.8 and score.seconds == 0.25 and score.calls == 1


@pytest.mark.parametrize(("yes", "value"), [(0.8, 1.0), (0.5, 0.0), (0.1, 0.0)])
def test_the_verdict_form_is_one_or_zero(yes, value):
    (score,) = scores(SelfReward(str, form="verdict"), [STAR], [Prompt("a star")], Answering(yes))
    assert score.value == value and score.parts == {"yes": yes}


def test_a_failed_answer_is_unscored():
    (score,) = scores(SelfReward(str), [STAR], [Prompt("a star")], Answering(error=RuntimeError("out of memory")))
    assert score.value is None and "out of memory" in score.reason


def test_an_unknown_form_is_a_usage_error():
    with pytest.raises(UsageError, match="verdict"):
        SelfReward(str, form="json")


def test_pictures_are_not_changed():
    before = np.asarray(STAR).copy()
    scores(DetectorReward(), [STAR], [to_prompt("a star")])
    assert np.array_equal(before, np.asarray(STAR))
