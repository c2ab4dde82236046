"""T2I-CompBench as a reward: what each category asks of whom, worked out by hand, and the whole on small networks."""

import asyncio
import threading
import time

import pytest
from PIL import Image

import tiny_judges
from milr.base import Reward
from milr.rewards.t2i_compbench import CompBenchReward
from milr.rewards.vision.grounding import GroundingDino
from milr.rewards.vision.vqa import BlipVQA
from milr.rules.grounding import GroundedBox
from milr.rules.t2i_compbench import ParsedPrompt, Token
from milr.types import JudgeError, MissingError, Prompt, UsageError

PICTURE = Image.effect_noise((90, 90), 80)  # grey: judges get RGB
LEFT = "a dog on the left of a car"
COMPLEX = "The black phone was next to the brown charger."
TEXTS = {
    LEFT: (("a dog", "the left", "a car"), "a/DET dog/NOUN on/ADP the/DET left/ADJ of/ADP a/DET car/NOUN"),
    "a woman near a table": ((), "a/DET woman/NOUN near/ADP a/DET table/NOUN"),
    "a red dog and a cat": (("a red dog", "a cat"), "a/DET red/ADJ dog/NOUN and/CCONJ a/DET cat/NOUN"),
    "running": ((), "running/VERB"),
    COMPLEX: (
        ("The black phone", "the brown charger"),
        "The/DET black/ADJ phone/NOUN was/AUX next/ADV to/ADP the/DET brown/ADJ charger/NOUN ./PUNCT",
    ),
    "The dog ran.": (("The dog",), "The/DET dog/NOUN ran/VERB ./PUNCT"),
}


class Parser:
    def identity(self):
        return {"parser": "by hand"}

    def __call__(self, text):
        chunks, words = TEXTS[text]
        return ParsedPrompt(tuple(Token(*word.rsplit("/", 1)) for word in words.split()), chunks)


class Judges:
    """Answers by table, and remembers what was asked."""

    def __init__(self, answers=None, boxes=None, cosine=0.3):
        self.answers, self.boxes, self.cosine, self.calls = answers or {}, boxes or {}, cosine, []

    def answer(self, picture, questions):
        assert picture.mode == "RGB"
        return [self.answers[question] for question in questions]

    def ground(self, picture, names):
        self.calls.append(list(names))
        return {name: self.boxes.get(name, []) for name in names}

    def compare(self, picture, text):
        self.calls.append(text)
        return self.cosine

    def reward(self, **settings):
        return CompBenchReward(Parser(), self.answer, self.ground, clip_score=self.compare, **settings)


def at(x, y, score=0.8):
    return GroundedBox(score, (x, y, 0.1, 0.1))


def score_of(reward, text, category, metadata=None, picture=PICTURE):
    (score,) = asyncio.run(reward.score([picture], [Prompt(text, "", category, metadata)], None))
    return score


def test_it_is_a_reward():
    reward = Judges().reward()
    assert isinstance(reward, Reward) and reward.name == "t2i-compbench" and reward.threshold == 0.9
    assert reward.identity() == {"strict_unidet_nouns": False, "parser": "by hand"}


def test_thresholds_are_milr_s():
    expected = {"color": 0.9, "shape": 0.9, "texture": 0.9, "spatial": 0.9, "non_spatial": 0.35, "complex": 0.4}
    assert {name: CompBenchReward.threshold_of(name) for name in expected} == expected


@pytest.mark.parametrize("category", ["color", "shape", "texture"])
def test_attributes_are_the_product_of_the_answers(category):
    judges = Judges({"a red dog?": 0.75, "a cat?": 0.5})
    score = score_of(judges.reward(), "a red dog and a cat", category)
    assert score.value == 0.375 and score.parts == {"a red dog?": 0.75, "a cat?": 0.5} and score.seconds > 0
    assert score_of(judges.reward(), "running", category).value == 1.0  # nothing to ask about


def test_a_relation_is_judged_in_the_frame_of_479_pixels():
    dog, car = at(0.2, 0.5), at(0.8, 0.5, 0.6)
    judges = Judges(boxes={"dog": [dog], "car": [car, at(0.1, 0.5, 0.5)]})
    score = score_of(judges.reward(), LEFT, "spatial")
    assert score.value == pytest.approx(0.2 + 0.15 + 0.5)
    assert score.parts == {"dog found": 0.8, "car found": 0.6, "position": 1.0}
    assert judges.calls == [["dog", "car"]]
    judges = Judges(boxes={"person": [at(0.1, 0.1, 1.0)], "table": [at(0.9, 0.9, 1.0)]})
    score = score_of(judges.reward(), "a woman near a table", "spatial")
    assert score.parts["position"] == pytest.approx(150 / (0.8 * 479))
    assert judges.calls == [["person", "table"]]
    wide = score_of(judges.reward(), "a woman near a table", "spatial", picture=Image.new("RGB", (200, 100)))
    assert wide.parts["position"] == pytest.approx(150 / (0.8 * 480))  # the frame is 480 x 240


def test_one_object_alone_is_worth_nothing():
    score = score_of(Judges(boxes={"dog": [at(0.2, 0.5, 1.0)]}).reward(), LEFT, "spatial")
    assert score.value == 0.0 and score.parts == {"dog found": 1.0, "car found": 0.0}


def test_nouns_that_unidet_cannot_find_are_left_unfound_on_demand():
    judges = Judges(boxes={"person": [at(0.5, 0.5, 0.8)], "table": [at(0.5, 0.5, 0.8)]})
    assert score_of(judges.reward(), "a woman near a table", "spatial").value == pytest.approx(0.9)
    strict = score_of(judges.reward(strict_unidet_nouns=True), "a woman near a table", "spatial")
    assert strict.value == 0.0 and strict.parts == {"woman found": 0.8, "table found": 0.0}


def test_a_spatial_prompt_without_a_noun_cannot_be_judged():
    score = score_of(Judges().reward(), "running", "spatial")
    assert score.value is None and "no noun" in score.reason


@pytest.mark.parametrize(("cosine", "value"), [(0.31, 0.31), (-0.05, 0.0), (1.0000001, 1.0)])
def test_non_spatial_is_the_cosine_with_the_whole_prompt(cosine, value):
    judges = Judges(cosine=cosine)
    assert score_of(judges.reward(), "The dog ran.", "non_spatial").value == value
    assert judges.calls == ["The dog ran."]


def test_complex_prompts_are_the_mean_of_what_their_list_asks_for():
    boxes = {"phone": [at(0.5, 0.5, 0.8)], "charger": [at(0.6, 0.5, 0.8)]}
    judges = Judges({"the black phone?": 0.5, "the brown charger?": 0.8}, boxes, cosine=0.3)
    spatial = score_of(judges.reward(), COMPLEX, "complex", {"lists": ["spatial"]})
    assert spatial.value == pytest.approx((0.4 + 0.9) / 2) and judges.calls == [["phone", "charger"]]
    assert spatial.parts == pytest.approx({"attribute": 0.4, "spatial": 0.9})
    judges.calls.clear()
    action = score_of(judges.reward(), COMPLEX, "complex", {"lists": ["action"]})
    assert action.value == pytest.approx((0.4 + 0.3) / 2)
    assert judges.calls == ["The phone was next to the charger ."]
    both = score_of(judges.reward(), COMPLEX, "complex", {"lists": ["spatial+action"]})
    assert both.value == pytest.approx((0.4 + 0.9 + 0.3) / 3) and set(both.parts) == {"attribute", "spatial", "action"}


def test_a_complex_prompt_without_a_pair_has_no_spatial_score():
    judges = Judges({"the dog?": 0.5})
    score = score_of(judges.reward(), "The dog ran.", "complex", {"lists": ["spatial"]})
    assert score.value == 0.25 and score.parts["spatial"] == 0.0 and not judges.calls


def test_foreign_prompts_are_refused():
    with pytest.raises(UsageError, match="of its own categories"):
        score_of(Judges().reward(), LEFT, "")
    for metadata in (None, {}):
        with pytest.raises(UsageError, match="which of T2I-CompBench's lists"):
            score_of(Judges().reward(), COMPLEX, "complex", metadata)


@pytest.mark.parametrize("error", [JudgeError("the text has 90 tokens"), RuntimeError("out of memory")])
def test_a_judge_that_fails_leaves_the_picture_unscored(error):
    def fail(picture, text):
        raise error

    reward = CompBenchReward(Parser(), Judges().answer, Judges().ground, clip_score=fail)
    score = score_of(reward, "The dog ran.", "non_spatial")
    assert score.value is None and str(error) in score.reason


def test_judging_leaves_the_event_loop_free():
    release = threading.Event()

    def slow(picture, text):
        assert release.wait(10)
        return 0.3

    async def both():
        reward = CompBenchReward(Parser(), Judges().answer, Judges().ground, clip_score=slow)
        judging = asyncio.ensure_future(reward.score([PICTURE], [Prompt("The dog ran.", "", "non_spatial")], None))
        began = time.monotonic()
        while time.monotonic() - began < 0.05:
            await asyncio.sleep(0.01)
        assert not judging.done()
        release.set()
        return await judging

    assert asyncio.run(both())[0].value == 0.3


def test_the_whole_on_small_networks_is_deterministic():
    words = tiny_judges.tokenizer()
    blip = BlipVQA(tiny_judges.blip(), words)
    detect = GroundingDino(tiny_judges.grounding_dino(), words, tiny_judges.grounding_processor())
    reward = CompBenchReward(Parser(), blip.yes_probabilities, detect, clip_score=Judges().compare)
    prompts = [Prompt("a red dog and a cat", "", "color"), Prompt(LEFT, "", "spatial"),
               Prompt(COMPLEX, "", "complex", {"lists": ["spatial+action"]})]  # fmt: skip
    first = asyncio.run(reward.score([PICTURE] * 3, prompts, None))

    async def at_once():
        return [score for (score,) in await asyncio.gather(*(reward.score([PICTURE], [one], None) for one in prompts))]

    again = asyncio.run(at_once())
    assert [score.value for score in again] == [score.value for score in first]
    assert [score.parts for score in again] == [score.parts for score in first]
    assert all(score.value is not None and 0 <= score.value <= 1 for score in first)
    assert first[1].parts.keys() == {"dog found", "car found", "position"}


def test_loading_without_weights_says_what_is_missing(monkeypatch):
    import spacy

    monkeypatch.setattr(spacy, "load", lambda name: Parser())
    monkeypatch.setattr("milr.rewards.vision.vqa.BlipVQA.load", lambda **settings: missing())
    with pytest.raises(MissingError, match="blip"):
        CompBenchReward.load(device="cpu")


def missing():
    raise MissingError("no blip here")
