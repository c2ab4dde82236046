"""MixedReward as a reward: its parts by hand, what fails, and the whole on small networks."""

import asyncio

import pytest
from PIL import Image

import tiny_judges
from milr.base import Reward
from milr.rewards.mixed import MixedReward
from milr.rewards.vision.grounding import GroundingDino
from milr.rewards.vision.vqa import GitVQA
from milr.rules.grounding import GroundedBox
from milr.types import JudgeError, Prompt, Score, UsageError

PICTURE = Image.effect_noise((90, 60), 80)
RED_DOG = {"tag": "colors", "include": [{"class": "dog", "count": 1, "color": "red"}]}
TWO_DOGS = {"tag": "counting", "include": [{"class": "dog", "count": 2}]}
CAT_LEFT = {"tag": "position", "include": [{"class": "dog", "count": 1},
                                           {"class": "cat", "count": 1, "position": ["left of", 0]}]}  # fmt: skip


class Unified:
    name, range, threshold, needs, licence = "unified", (0.0, 1.0), 0.75, ("judge",), "MIT"

    def __init__(self, score=Score(0.5, reason="the judge answered 3", calls=2, seconds=0.25)):
        self.answer = score

    async def score(self, pictures, prompts, services):
        if isinstance(self.answer, Exception):
            raise self.answer
        return [self.answer] * len(pictures)


def at(x, y):
    return GroundedBox(0.9, (x, y, 0.1, 0.1))


PLACES = {"dog": [at(0.8, 0.5)], "cat": [at(0.2, 0.5)]}
ANSWERS = {"Is this a red dog?": 0.75, "Are there 2 dogs?": 0.5, "Is this a dog?": 1.0, "Is this a cat?": 0.5}


def ground(picture, names):
    assert picture.mode == "RGB"
    return {name: PLACES.get(name, []) for name in names}


def answer(picture, questions):
    return [ANSWERS[question] for question in questions]


def score_of(metadata, reward=None):
    prompt = Prompt("a photo", metadata=metadata)
    (score,) = asyncio.run((reward or MixedReward(ground, answer, Unified())).score([PICTURE], [prompt], None))
    return score


def test_it_is_a_reward_that_says_what_it_needs():
    reward = MixedReward(ground, answer, Unified())
    assert isinstance(reward, Reward) and reward.threshold == 0.8 and reward.needs == ("metadata", "judge")
    assert reward.licence.endswith("; MIT")


@pytest.mark.parametrize(
    ("metadata", "parts", "value"),
    [
        (RED_DOG, {"grounding": 1.0, "questions": 0.75, "unified": 0.5}, 0.4 + 0.4 * 0.75 + 0.1),
        (TWO_DOGS, {"grounding": 0.2, "questions": 0.5, "unified": 0.5}, 0.6 * 0.2 + 0.2 * 0.5 + 0.1),
        (CAT_LEFT, {"grounding": 0.9, "questions": 0.75, "unified": 0.5}, 0.6 * 0.9 + 0.2 * 0.75 + 0.1),
    ],
)
def test_the_score_is_the_weighted_mean_of_its_parts(metadata, parts, value):
    score = score_of(metadata)
    assert score.value == pytest.approx(value) and score.parts == pytest.approx(parts)
    assert score.reason == "the judge answered 3" and score.calls == 2 and score.seconds >= 0.25


def test_each_picture_is_judged_by_its_own_prompt():
    prompts = [Prompt("a photo", metadata=metadata) for metadata in (CAT_LEFT, RED_DOG)]
    results = asyncio.run(MixedReward(ground, answer, Unified()).score([PICTURE] * 2, prompts, None))
    assert [score.value for score in results] == [score_of(metadata).value for metadata in (CAT_LEFT, RED_DOG)]


def test_a_part_that_is_unscored_leaves_the_picture_unscored():
    unscored = MixedReward(ground, answer, Unified(Score.unscored("no network", calls=3)))
    score = score_of(RED_DOG, unscored)
    assert score.value is None and score.reason == "unified: no network" and score.calls == 3
    assert score.parts == {"grounding": 1.0, "questions": 0.75}

    def fail(picture, questions):
        raise RuntimeError("out of memory")

    score = score_of(RED_DOG, MixedReward(ground, fail, Unified()))
    assert score.value is None and "RuntimeError: out of memory" in score.reason and score.parts == {"unified": 0.5}


def test_a_judge_that_gives_up_is_not_swallowed():
    with pytest.raises(JudgeError, match="no key"):
        score_of(RED_DOG, MixedReward(ground, answer, Unified(JudgeError("no key"))))


DOG = {"class": "dog", "count": 1}


@pytest.mark.parametrize(
    "metadata",
    [
        None, {}, {"include": []}, {"include": 3}, {"include": ["dog"]}, {"lists": ["action"]},
        {"include": [{"class": "dog"}]}, {"include": [{"class": " ", "count": 1}]},
        {"include": [{"class": "dog", "count": "two"}]}, {"include": [{"class": "dog", "count": 0}]},
        {"include": [DOG, DOG | {"position": ["left of", 2]}]}, {"include": [DOG | {"position": ["left of"]}]},
    ],
)  # fmt: skip
def test_a_prompt_without_clauses_is_refused(metadata):
    with pytest.raises(UsageError, match="clauses"):
        score_of(metadata)


def test_what_unified_says_of_itself_is_part_of_its_identity(monkeypatch):
    reward = MixedReward(ground, answer, Unified())
    assert reward.identity() == {"unified": {}}
    monkeypatch.setattr(Unified, "identity", lambda self: {"wording": "ab"}, raising=False)
    assert reward.identity() == {"unified": {"wording": "ab"}}


def test_the_whole_on_small_networks_is_deterministic():
    words = tiny_judges.tokenizer()
    detect = GroundingDino(tiny_judges.grounding_dino(), words, tiny_judges.grounding_processor())
    git = GitVQA(tiny_judges.git(), words, tiny_judges.git_processor())
    reward = MixedReward(detect, git.yes_probabilities, Unified())
    first, again = score_of(CAT_LEFT, reward), score_of(CAT_LEFT, reward)
    assert first.value == again.value and first.parts == again.parts
    assert first.value is not None and 0 < first.value < 1 and 0 < first.parts["questions"] < 1
