"""GroundingDINO as a detector of named things, with a small random network."""

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_judges
from milr.rewards.vision.grounding import GroundingDino
from milr.types import JudgeError, MissingError

PICTURE = Image.effect_noise((90, 60), 80).convert("RGB")
NAMES = ["Traffic light", "horseback", "dog"]


@pytest.fixture(scope="module")
def words():
    return tiny_judges.tokenizer()


@pytest.fixture(scope="module")
def network():
    return tiny_judges.grounding_dino()


def detector(network, words, **settings):
    return GroundingDino(network, words, tiny_judges.grounding_processor(), **settings)


def raw(network, words, caption):
    """Sigmoids (Q, T) and boxes (Q, 4) of the network itself."""
    pixels = tiny_judges.grounding_processor()(images=PICTURE, return_tensors="pt")
    assert pixels["pixel_values"].shape == (1, 3, 96, 144)  # shorter side 96
    with torch.no_grad():
        output = network(**pixels, **words(caption, return_tensors="pt"))
    return output.logits[0].sigmoid().numpy(), output.pred_boxes[0].numpy()


def test_a_query_s_score_is_the_mean_over_the_name_s_tokens(network, words):
    # [CLS] traffic light . horse ##back . dog . [SEP]
    probabilities, boxes = raw(network, words, "traffic light . horseback . dog.")
    expected = {"Traffic light": probabilities[:, 1:3].mean(1), "horseback": probabilities[:, 4:6].mean(1),
                "dog": probabilities[:, 7]}  # fmt: skip
    output = detector(network, words, threshold=0.0)(PICTURE, NAMES)
    assert list(output) == NAMES
    for name, scores in expected.items():
        assert [one.score for one in output[name]] == pytest.approx(sorted(scores, reverse=True), abs=1e-6)
        assert output[name][0].cxcywh == pytest.approx(boxes[np.argmax(scores)], abs=1e-6)
    assert np.ptp(expected["Traffic light"]) > 0.05


def test_only_what_is_above_the_threshold_is_found(network, words):
    everything = detector(network, words, threshold=0.0)(PICTURE, NAMES)["Traffic light"]
    limit = everything[3].score
    assert detector(network, words, threshold=limit)(PICTURE, NAMES)["Traffic light"] == everything[:3]
    assert detector(network, words, threshold=1.0)(PICTURE, NAMES) == {name: [] for name in NAMES}
    assert detector(network, words).threshold == 0.3


def test_a_name_asked_for_twice_is_one(network, words):
    detect = detector(network, words)
    assert detect(PICTURE, ["dog", "cat", "dog"]) == detect(PICTURE, ["dog", "cat"])


def test_numbers_that_are_not_finite_are_a_judge_s_failure(words):
    broken = tiny_judges.grounding_dino()
    with torch.no_grad():
        broken.bbox_embed[-1].layers[-1].bias.fill_(float("nan"))
    with pytest.raises(JudgeError, match="not finite"):
        detector(broken, words)(PICTURE, ["dog"])


def test_it_comes_back_from_a_folder(tmp_path, network, words):
    folder = tiny_judges.saved(tmp_path, network, words, tiny_judges.grounding_processor())
    loaded = GroundingDino.load(folder, device="cpu")(PICTURE, NAMES)
    original = detector(network, words)(PICTURE, NAMES)
    for name in NAMES:
        assert [box.score for box in loaded[name]] == pytest.approx([box.score for box in original[name]], abs=1e-5)
        assert original[name]


def test_a_folder_that_is_not_there_is_missing():
    with pytest.raises(MissingError, match="no folder /nowhere"):
        GroundingDino.load("/nowhere")
