"""GenEval's evaluator as a reward: verdicts, failures, and the whole path on small random weights."""

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_geneval
from milr.base import Reward
from milr.rewards.geneval import DEVIATIONS, GenEvalReward
from milr.rewards.vision.colours import ColourClassifier
from milr.rewards.vision.segmentation import Segmenter
from milr.rules.geneval import Detection
from milr.types import Prompt, UsageError

PICTURE = Image.new("RGB", (64, 48), "red")


class Colours:
    """Names the colour that an object's score stands for."""

    def for_picture(self, picture):
        return lambda name, objects: ["red" if one.score > 0.8 else "blue" for one in objects]


def seeing(**objects):
    """A reward whose detector sees objects with these scores."""
    result = {name.replace("_", " "): [Detection((4.0 * index, 0, 4.0 * index + 2, 2), score)
                                      for index, score in enumerate(scores)]
             for name, scores in objects.items()}  # fmt: skip
    return GenEvalReward(lambda picture: result, Colours())


def prompt_of(tag, *include, exclude=()):
    return Prompt("a photo of", metadata={"tag": tag, "include": list(include), "exclude": list(exclude)})


def clause(name, count=1, **more):
    return {"class": name, "count": count, **more}


def score(reward, prompt, picture=PICTURE):
    (result,) = asyncio.run(reward.score([picture], [prompt], None))
    return result


def test_it_is_a_reward_that_names_its_licence_and_its_deviations():
    reward = seeing()
    assert isinstance(reward, Reward)
    assert (reward.name, reward.range, reward.threshold, reward.needs) == ("geneval", (0.0, 1.0), 0.9, ("metadata",))
    assert "CC BY-NC 4.0" in reward.licence
    assert any("CC BY-NC 4.0" in sentence for sentence in DEVIATIONS)
    assert all(sentence.endswith(".") for sentence in DEVIATIONS)


def test_right_is_one_and_wrong_is_zero_with_the_reason():
    prompt = prompt_of("two_object", clause("car"), clause("bear"))
    assert score(seeing(car=[0.9], bear=[0.5]), prompt).value == 1.0
    result = score(seeing(car=[0.9], teddy_bear=[0.9], carrot=[0.9]), prompt)  # by name, never by part of a name
    assert result.value == 0.0 and result.reason == "expected bear>=1, found 0"
    assert result.parts == {"car found": 1.0, "bear found": 0.0}


def test_counting_has_its_own_threshold_and_refuses_one_too_many():
    prompt = prompt_of("counting", clause("dog", 2), exclude=[clause("dog", 3)])
    assert score(seeing(dog=[0.95, 0.91]), prompt).value == 1.0
    assert score(seeing(dog=[0.95, 0.9]), prompt).value == 0.0
    assert score(seeing(dog=[0.95, 0.94, 0.93]), prompt).value == 0.0


def test_only_the_surest_instance_decides_a_colour():
    prompt = prompt_of("colors", clause("cup", color="red"))
    assert score(seeing(cup=[0.5, 0.85]), prompt).value == 1.0
    result = score(seeing(cup=[0.7, 0.5]), prompt)
    assert result.value == 0.0 and "found blue" in result.reason and result.parts["cup color"] == 0.0


def test_each_picture_is_judged_as_it_is_and_away_from_the_event_loop():
    observed, threads = [], []

    def detect(picture):
        observed.append((picture.mode, picture.size, picture.getpixel((0, 0))))
        threads.append(threading.current_thread())
        return {"cat": [Detection((0, 0, 1, 1), 0.9)]} if picture.size == (64, 48) else {}

    reward = GenEvalReward(detect, Colours())
    pictures = [PICTURE, Image.new("RGBA", (8, 8), (1, 2, 3, 4))]
    result = asyncio.run(reward.score(pictures, [prompt_of("single_object", clause("cat"))] * 2, None))
    assert [one.value for one in result] == [1.0, 0.0]
    assert observed == [("RGB", (64, 48), (255, 0, 0)), ("RGB", (8, 8), (1, 2, 3))]
    assert threading.main_thread() not in threads
    assert all(one.seconds > 0 and one.calls == 1 for one in result)


def test_one_picture_at_a_time_is_evaluated():
    running, most = [], []

    def detect(picture):
        running.append(picture)
        most.append(len(running))
        threading.Event().wait(0.01)
        running.pop()
        return {}

    async def together(reward):
        prompt = prompt_of("single_object", clause("cat"))
        await asyncio.gather(*(reward.score([PICTURE], [prompt], None) for _ in range(4)))

    asyncio.run(together(GenEvalReward(detect, Colours())))
    assert most == [1, 1, 1, 1]


def test_a_broken_evaluator_is_unscored_and_never_a_pass():
    def broken(picture):
        raise RuntimeError("out of memory")

    result = score(GenEvalReward(broken, Colours()), prompt_of("single_object", clause("cat")))
    assert result.value is None and "RuntimeError: out of memory" in result.reason

    # nothing may be found of what is excluded: the one place where a silent failure would be a success
    nothing = prompt_of("counting", clause("cat"), exclude=[clause("dog", 1)])
    assert score(GenEvalReward(broken, Colours()), nothing).value is None


def test_a_detector_of_nonsense_is_unscored(monkeypatch):
    monkeypatch.setattr("milr.rewards.vision.segmentation.SHORT_SIDE", 128)
    network = tiny_geneval.mask2former()
    with torch.no_grad():
        network.class_predictor.weight.fill_(float("nan"))
    result = score(GenEvalReward(Segmenter(network), Colours()), prompt_of("single_object", clause("cat")))
    assert result.value is None and "not finite" in result.reason


BAD = {
    "no metadata": (None, "no metadata"),
    "nothing asked": ({"tag": "colors", "include": []}, "no include clause"),
    "no tag": ({"include": [clause("cat")]}, "not in GenEval's form"),
    "no count": ({"tag": "colors", "include": [{"class": "cat"}]}, "not in GenEval's form"),
    "no clauses": ({"tag": "colors", "include": 3}, "not in GenEval's form"),
    "class": ({"tag": "shapes", "include": [clause("star")]}, "'star'"),
    "COCO's own name": ({"tag": "colors", "include": [clause("mouse")]}, "'mouse'"),
    "excluded class": ({"tag": "counting", "include": [clause("cat")], "exclude": [clause("star")]}, "'star'"),
    "colour": ({"tag": "colors", "include": [clause("cat", color="grey")]}, "'grey'"),
    "fill": ({"tag": "colors", "include": [clause("cat", fill="striped")]}, "the fill"),
    "none": ({"tag": "colors", "include": [clause("cat", 0)]}, "cannot be judged"),
    "relation": ({"tag": "position", "include": [clause("cat"), clause("dog", position=["near", 0])]}, "near"),
    "later anchor": ({"tag": "position", "include": [clause("cat", position=["above", 1]), clause("dog")]}, "above"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_metadata_that_is_not_genevals_is_a_usage_error(kind):
    metadata, says = BAD[kind]
    with pytest.raises(UsageError, match=says):
        score(seeing(cat=[0.9], dog=[0.9]), Prompt("a cat", metadata=metadata))


def test_position_clauses_are_judged():
    prompt = prompt_of("position", clause("cat"), clause("dog", position=["right of", 0]))
    left, right = Detection((0, 0, 10, 10), 0.9), Detection((40, 0, 50, 10), 0.9)
    assert score(GenEvalReward(lambda picture: {"cat": [left], "dog": [right]}, Colours()), prompt).value == 1.0
    assert score(GenEvalReward(lambda picture: {"cat": [right], "dog": [left]}, Colours()), prompt).value == 0.0


def test_the_whole_path_from_folders_to_a_verdict(tmp_path: Path, monkeypatch):
    """Random weights whose class head is biased see one sure class everywhere; its colour comes from the real CLIP."""
    monkeypatch.setattr("milr.rewards.vision.segmentation.SHORT_SIDE", 128)
    network = tiny_geneval.mask2former()
    with torch.no_grad():
        network.class_predictor.bias[15] = 12.0  # cat
    network.save_pretrained(tmp_path / "detector")
    reward = GenEvalReward.load(
        str(tmp_path / "detector"), str(tiny_geneval.save_clip(tmp_path / "clip")), device="cpu"
    )
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
    cats = reward.detect(picture)["cat"]
    surest = max(cats, key=lambda one: one.score)
    assert surest.score > 0.3, "the test needs a visible cat"
    (observed,) = ColourClassifier(tiny_geneval.clip()).for_picture(picture)("cat", [surest])
    assert score(reward, prompt_of("colors", clause("cat", color=observed)), picture).value == 1.0
    other = "red" if observed != "red" else "blue"
    result = score(reward, prompt_of("colors", clause("cat", color=other)), picture)
    assert result.value == 0.0 and f"found {observed}" in result.reason
    assert score(reward, prompt_of("single_object", clause("dog")), picture).value == 0.0
