"""GenEval's detector: what happens before and after the network, by hand, and the whole with a small random one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_geneval
from milr.rewards.vision.segmentation import MEAN, PADDING, STD, Frame, Segmenter, instances, preprocess, tight_box
from milr.rules.coco import GENEVAL_NAMES
from milr.types import JudgeError, MissingError

PLAIN = Frame((8, 8), (8, 8), (8, 8))


def logits_of(*probabilities):
    """Class logits (Q, C + 1) whose softmax is given; what is missing to 1 is "no object"."""
    rows = [[*row, 1 - sum(row)] for row in probabilities]
    return torch.tensor(rows).clamp(min=1e-30).log()


def rectangle(size, rows, columns, inside=10.0, outside=-10.0):
    logits = torch.full(size, outside)
    logits[slice(*rows), slice(*columns)] = inside
    return logits


# Names


def test_the_names_are_cocos_in_order_with_three_renamed():
    assert len(GENEVAL_NAMES) == len(set(GENEVAL_NAMES)) == 80
    at = {
        0: "person",
        2: "car",
        9: "traffic light",
        15: "cat",
        21: "bear",
        39: "bottle",
        51: "carrot",
        64: "computer mouse",
        65: "tv remote",
        66: "computer keyboard",
        77: "teddy bear",
        79: "toothbrush",
    }
    assert {index: GENEVAL_NAMES[index] for index in at} == at


# Before the network


@pytest.mark.parametrize(
    ("size", "resized", "padded"),
    [
        ((384, 384), (800, 800), (800, 800)),
        ((512, 384), (800, 1067), (800, 1088)),  # transformers would stretch this to 800 x 1088
        ((384, 512), (1067, 800), (1088, 800)),
        ((1024, 1024), (800, 800), (800, 800)),
        ((1000, 400), (533, 1333), (544, 1344)),  # the longer side decides: 1333 / 1000
        ((1333, 800), (800, 1333), (800, 1344)),
        ((4000, 1), (1, 1333), (32, 1344)),
    ],
)
def test_the_picture_is_resized_in_ratio_and_padded(size, resized, padded):
    pixels, frame = preprocess(Image.new("RGB", size, (200, 100, 50)))
    assert frame == Frame(size[::-1], resized, padded)
    assert pixels.shape == (3, *padded) and pixels.dtype == np.float32
    colour = [(level - mean) / spread for level, mean, spread in zip((200, 100, 50), MEAN, STD, strict=True)]
    grey = [(PADDING - mean) / spread for mean, spread in zip(MEAN, STD, strict=True)]
    height, width = resized
    for channel in range(3):
        assert np.allclose(pixels[channel, :height, :width], colour[channel], atol=1e-5)
        assert np.allclose(pixels[channel, height:], grey[channel], atol=1e-5)
        assert np.allclose(pixels[channel, :, width:], grey[channel], atol=1e-5)


def test_any_mode_is_read_as_rgb():
    grey, transparent = Image.new("L", (32, 32), 90), Image.new("RGBA", (32, 32), (90, 90, 90, 0))
    assert np.array_equal(preprocess(grey)[0], preprocess(transparent)[0])


# After the network


def test_boxes_are_tight_and_half_open():
    mask = np.zeros((6, 9), bool)
    mask[2, 3] = True
    assert tight_box(mask) == (3, 2, 4, 3)
    mask[5, 8] = mask[0, 4] = True
    assert tight_box(mask) == (3, 0, 9, 6)
    assert tight_box(np.zeros((6, 9), bool)) == (0, 0, 0, 0)


def test_a_rectangle_of_quarter_size_logits_comes_back_four_times_as_large():
    masks = rectangle((16, 16), (4, 8), (2, 6))[None]
    ((kind, one),) = instances(logits_of([0.9]), masks, Frame((64, 64), (64, 64), (64, 64)))
    assert kind == 0 and one.box == (8, 16, 24, 32)
    # the four corner pixels are 0.625 inside along each side: 10 * (2 * 0.625 * 0.625 - 1) < 0
    assert one.mask.shape == (64, 64) and one.mask.dtype == bool and one.mask.sum() == 16 * 16 - 4
    ((_, small),) = instances(logits_of([0.9]), masks, Frame((32, 48), (64, 64), (64, 64)))
    assert small.mask.shape == (32, 48) and small.box == (6, 8, 18, 16)


def test_the_score_is_class_probability_times_mean_mask_probability():
    masks = rectangle((8, 8), (0, 2), (0, 2), inside=2.0)
    masks[0, 0] = 0.5
    ((_, one),) = instances(logits_of([0.6]), masks[None], PLAIN)
    sigmoid = [1 / (1 + np.exp(-logit)) for logit in (0.5, 2.0, 2.0, 2.0)]
    assert one.score == pytest.approx(0.6 * sum(sigmoid) / (4 + 1e-6), abs=1e-6)


def test_one_tiny_mask_pays_for_the_epsilon_of_its_area():
    ((_, one),) = instances(logits_of([1.0]).double(), rectangle((8, 8), (0, 1), (0, 1), 50.0)[None].double(), PLAIN)
    assert one.score == pytest.approx(1 / (1 + 1e-6), abs=2e-7) and one.score < 1


def test_a_logit_of_zero_is_outside():
    masks = rectangle((8, 8), (0, 4), (0, 4), inside=0.0)
    masks[1, 2] = 1e-3
    ((_, one),) = instances(logits_of([0.9]), masks[None], PLAIN)
    assert one.box == (2, 1, 3, 2)


def test_an_empty_mask_has_a_zero_box_and_no_score():
    ((_, one),) = instances(logits_of([0.9]), torch.full((1, 8, 8), -3.0), PLAIN)
    assert one.box == (0, 0, 0, 0) and one.score == 0.0 and not one.mask.any()


def test_what_lies_in_the_padding_is_cut_off():
    frame = Frame((384, 512), (800, 1067), (800, 1088))
    masks = rectangle((200, 272), (0, 200), (267, 272))[None]  # from column 1068 of the padded input on
    ((_, one),) = instances(logits_of([0.9]), masks, frame)
    assert one.box == (0, 0, 0, 0)
    ((_, whole),) = instances(logits_of([0.9]), torch.full((1, 200, 272), 5.0), frame)
    assert whole.box == (0, 0, 512, 384)


def test_one_query_may_have_two_classes_and_nothing_is_suppressed():
    masks = torch.stack([rectangle((8, 8), (0, 4), (0, 4), 9.0), rectangle((8, 8), (0, 4), (0, 3), 9.0)])
    detections = instances(logits_of([0.5, 0.3, 0.0], [0.0, 0.4, 0.35]), masks, PLAIN)
    summary = [(kind, one.box[2], round(one.score, 2)) for kind, one in detections if one.score > 0.01]
    assert summary == [(0, 4, 0.5), (1, 3, 0.4), (2, 3, 0.35), (1, 4, 0.3)]
    assert len(detections) == 6


def test_no_object_is_no_class_and_only_a_hundred_pairs_are_kept():
    table = torch.zeros(2, 81)
    table[0, 80], table[1, 7] = 20.0, 20.0  # the first query is sure that it sees nothing
    detections = instances(table, torch.full((2, 8, 8), 9.0), PLAIN)
    assert len(detections) == 100 and detections[0][0] == 7
    assert detections[0][1].score == pytest.approx(1, abs=1e-3) and all(one.score < 1e-6 for _, one in detections[1:])


@pytest.mark.parametrize("broken", ["classes", "masks"])
def test_numbers_that_are_not_finite_are_an_error(broken):
    classes, masks = logits_of([0.9]), torch.full((1, 8, 8), 1.0)
    (classes if broken == "classes" else masks).view(-1)[0] = float("nan")
    with pytest.raises(JudgeError, match="not finite"):
        instances(classes, masks, PLAIN)


# The whole


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter(tiny_geneval.mask2former())


def summary(detections):
    return {name: [(one.box, one.score, one.mask.tobytes()) for one in objects] for name, objects in detections.items()}


@pytest.mark.parametrize("size", [(512, 384), (96, 96)])
def test_a_picture_gives_a_hundred_instances_of_its_size(segmenter, size):
    detections = segmenter(Image.linear_gradient("L").convert("RGB").resize(size))
    objects = [one for group in detections.values() for one in group]
    assert set(detections) <= set(GENEVAL_NAMES) and len(objects) == 100
    assert all(one.mask.shape == size[::-1] and 0 <= one.score <= 1 for one in objects)
    assert all(one.box == tight_box(one.mask) for one in objects)


def test_the_same_weights_from_a_folder_see_the_same(segmenter, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("milr.rewards.vision.segmentation.SHORT_SIDE", 128)
    picture = Image.new("RGB", (64, 48), "red")
    segmenter.network.save_pretrained(tmp_path)
    assert summary(Segmenter.load(str(tmp_path), device="cpu")(picture)) == summary(segmenter(picture))


def test_a_detector_of_other_classes_is_refused():
    with pytest.raises(MissingError, match="80 instance classes"):
        Segmenter(tiny_geneval.mask2former(labels=133))
