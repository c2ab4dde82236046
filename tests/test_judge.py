"""The judge of the embedded world on drawn scenes."""

import numpy as np
import pytest
from PIL import Image

from milr.shapes import sampling
from milr.shapes.drawing import draw_scene
from milr.shapes.grammar import metadata, parse, to_prompt
from milr.shapes.judge import judge, scene_verdict
from milr.shapes.planning import sample_scene
from milr.shapes.scenes import Appearance, Item, Scene


def picture(*items):
    return Image.fromarray(draw_scene(Scene(tuple((item,) for item in items))))


def wanted(text):
    request = parse(text)
    assert request is not None
    return metadata(request, text)


@pytest.mark.parametrize("category", sampling.SAMPLERS)
def test_right_scenes_are_right_and_the_exact_verdict_agrees(category):
    rng = np.random.default_rng(5)
    for _ in range(12):
        request, text = sampling.SAMPLERS[category](rng)
        scene = sample_scene(request, rng)
        clauses = metadata(request, text)
        score = judge(Image.fromarray(draw_scene(scene)), clauses)
        assert score.value == 1.0 and not score.reason, (text, score.reason)
        assert scene_verdict(scene, clauses).correct


@pytest.mark.parametrize("category", sampling.SAMPLERS)
def test_other_scenes_get_the_exact_verdict(category):
    rng = np.random.default_rng(6)
    for _ in range(12):
        request, text = sampling.SAMPLERS[category](rng)
        other, _ = sampling.SAMPLERS[category](rng)
        scene, clauses = sample_scene(other, rng), metadata(request, text)
        score, exact = judge(Image.fromarray(draw_scene(scene)), clauses), scene_verdict(scene, clauses)
        assert (score.value == 1.0) == exact.correct and bool(score.reason) == (not exact.correct)


def test_parts_and_reason_say_what_is_wrong():
    clauses = wanted("a red star left of a blue circle")
    shown = picture(Item(Appearance("star", "green"), 4), Item(Appearance("circle", "blue"), 7))
    score = judge(shown, clauses)
    assert score.value == 0.0 and score.reason == "expected color red of star, found green"
    assert score.parts == {"circle found": 1, "circle color": 1, "star found": 1, "star color": 0, "star position": 1}


def test_binding_is_graded():
    clauses = wanted("a small striped red star and a large heart")
    right = (Item(Appearance("star", "red", "small", "striped"), 0), Item(Appearance("heart", "pink", "large"), 5))
    assert judge(picture(*right), clauses).value == 1.0
    solid = Item(Appearance("star", "red", "small", "solid"), 0)
    assert judge(picture(solid, right[1]), clauses).value == pytest.approx((3 / 4 + 1) / 2)
    assert judge(picture(right[1]), clauses).value == pytest.approx(1 / 2)


def test_counts():
    clauses = wanted("three moons")
    moons = [Item(Appearance("moon", "red"), cell) for cell in (0, 2, 8, 10)]
    assert [judge(picture(*moons[:n]), clauses).value for n in (2, 3, 4)] == [0.0, 1.0, 0.0]
    assert "found 4" in judge(picture(*moons), clauses).reason


@pytest.mark.parametrize("shape", [(32, 32), (64, 48)])
def test_another_size_or_mode_is_unscored(shape):
    clauses = to_prompt("a star").metadata
    score = judge(Image.new("RGB", shape), clauses)
    assert score.value is None and "64 x 64" in score.reason
    assert judge(Image.new("L", (64, 64)), clauses).value is None
