"""The detector against drawings it must read and near misses it must refuse."""

from collections import Counter

import numpy as np
import pytest

from milr.rules import geneval
from milr.shapes.colours import nearest_colour
from milr.shapes.detector import ATTRIBUTES, detect, detection_of_item
from milr.shapes.drawing import draw_scene
from milr.shapes.scenes import BACKGROUND, COLOURS, PIXELS, Appearance, Item, Scene
from milr.shapes.training.calibration import rates
from milr.shapes.training.near_misses import MISSES, RIGHT, displaced, merged
from milr.shapes.training.patches import all_appearances


def scene(*items):
    return Scene(tuple((item,) for item in items))


def detections_above(picture, least=0.0):
    return [detection for by_shape in detect(picture).values() for detection in by_shape if detection.score > least]


def attributes(thing):
    return thing.colour, thing.size, thing.fill


def test_every_appearance_is_read_right_and_once():
    rng = np.random.default_rng(0)
    for appearance in all_appearances():
        item = Item(appearance, int(rng.integers(16)))
        (detection,) = detections_above(draw_scene(scene(item)))
        expected = detection_of_item(item)
        assert detection.score > 0.97, appearance
        assert detection.shape == appearance.shape and attributes(detection) == attributes(appearance)
        assert detection.box == expected.box and np.array_equal(detection.mask, expected.mask)


def _facts(detection):
    return detection.shape, *attributes(detection), detection.box


def test_crowds_are_read_exactly():
    rng = np.random.default_rng(1)
    appearances = all_appearances()
    for _ in range(40):
        cells = rng.permutation(16)[: rng.integers(2, 11)]
        items = [Item(appearances[rng.integers(len(appearances))], int(cell)) for cell in cells]
        picture = draw_scene(scene(*items))
        expected = Counter(_facts(detection_of_item(item)) for item in items)
        assert Counter(map(_facts, detections_above(picture, 0.9))) == expected
        assert len(detections_above(picture, 0.3)) == len(items)


def test_an_empty_picture_and_pure_noise_hold_nothing():
    ground = np.full((PIXELS, PIXELS, 3), BACKGROUND, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, ground.shape).astype(np.uint8)
    assert detect(ground) == {} and not detections_above(noise)
    for colour in COLOURS.values():
        assert not detections_above(np.full(ground.shape, colour, np.uint8))


def test_near_misses_are_refused():
    for kind, rate in rates(MISSES, 120, seed=101).items():
        assert rate.above_0_3 <= 0.01 and rate.above_0_9 <= 0.01, kind


def test_right_drawings_are_accepted_though_damaged():
    accepted = rates({**RIGHT, "displaced": displaced}, 60, seed=102)
    for kind, rate in accepted.items():
        assert rate.above_0_3 >= 0.98 and rate.above_0_9 >= 0.95, kind
    assert accepted["clean"].above_0_9 == 1


def test_attributes_survive_light_damage():
    rng = np.random.default_rng(7)
    for make in RIGHT.values():
        cases = [make(rng) for _ in range(40)]
        tops = [detect(case.picture)[case.appearance.shape][0] for case in cases]
        right = [attributes(top) == attributes(case.appearance) for top, case in zip(tops, cases, strict=True)]
        assert np.mean(right) >= 0.97


@pytest.mark.parametrize("count", [2, 3, 4])
def test_counting_at_nine_tenths(count):
    rng = np.random.default_rng(count)
    for shape in ("star", "moon", "circle"):
        items = [Item(Appearance(shape, "green", "small"), int(cell)) for cell in rng.permutation(16)[:count]]
        metadata = {"tag": "counting", "include": [{"class": shape, "count": count}],
                    "exclude": [{"class": shape, "count": count + 1}]}  # fmt: skip
        assert geneval.judge(detect(draw_scene(scene(*items))), metadata, ATTRIBUTES).correct
        assert not geneval.judge(detect(draw_scene(scene(*items[1:]))), metadata, ATTRIBUTES).correct


def test_merged_objects_are_neither():
    rng = np.random.default_rng(9)
    assert np.mean([bool(detections_above(merged(rng).picture, 0.3)) for _ in range(100)]) <= 0.01


def test_colours_that_are_none():
    contrast = {name: np.subtract(rgb, BACKGROUND) for name, rgb in COLOURS.items()}
    for name, wanted in contrast.items():
        assert nearest_colour(wanted) == name
        assert nearest_colour(0.9 * wanted) == name
        assert nearest_colour(0.4 * wanted) != name
    assert nearest_colour(np.subtract((0, 230, 230), BACKGROUND)) is None  # cyan


def test_the_picture_is_not_changed_and_answers_repeat():
    picture = merged(np.random.default_rng(3)).picture
    before = picture.copy()
    first, second = detect(picture), detect(picture)
    assert np.array_equal(picture, before) and first == second
