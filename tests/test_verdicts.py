"""The answers nano learns to give about a picture, on scenes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from milr.shapes.detector import detect
from milr.shapes.drawing import draw_scene
from milr.shapes.grammar import parse
from milr.shapes.judge import scene_detections
from milr.shapes.scenes import Appearance, Item, Scene
from milr.shapes.training.examples import add_objects
from milr.shapes.training.verdicts import comparison, description, verdict

STAR, CIRCLE = Item(Appearance("star", "red"), 0), Item(Appearance("circle", "blue", "small", "striped"), 6)
HEARTS = tuple(Item(Appearance("heart", "green"), cell) for cell in (9, 2))
DETECTIONS = scene_detections(Scene(((CIRCLE,), (STAR,), HEARTS)))


def test_the_description_is_in_reading_order_with_all_attributes() -> None:
    assert description(DETECTIONS).split(" , ") == [
        "star red solid large a1", "heart green solid large a3", "circle blue striped small b3",
        "heart green solid large c2"]  # fmt: skip
    assert description({}) == "nothing"


RED, BLUE = "star red solid large a1", "circle blue striped small b3"
GREEN = "heart green solid large a3 heart green solid large c2"


@pytest.mark.parametrize(
    ("question", "compared", "answer"),
    [
        ("a red star left of a blue circle", f"red star : {RED} yes , blue circle : {BLUE} yes , left of yes", "yes"),
        ("a red star right of a circle", f"red star : {RED} yes , circle : {BLUE} yes , right of no", "no"),
        ("a blue star and a circle", f"blue star : {RED} no , circle : {BLUE} yes", "no"),
        ("a cross above a star", f"cross : no , star : {RED} yes , above no", "no"),
        ("two hearts", f"two heart : {GREEN} yes", "yes"),
        ("three hearts", f"three heart : {GREEN} no", "no"),
        ("a heart", f"heart : {GREEN} yes", "yes"),
        ("a small striped circle", f"small striped circle : {BLUE} yes", "yes"),
        ("as many hearts as a bicycle has wheels", f"two heart : {GREEN} yes", "yes"),
        ("the shape of a coin in the colour of grass", f"green circle : {BLUE} no", "no"),
    ],
)
def test_comparisons_and_verdicts_by_hand(question: str, compared: str, answer: str) -> None:
    request = parse(question)
    assert request is not None
    assert comparison(DETECTIONS, request) == compared
    assert verdict(DETECTIONS, request, question) == answer


def test_what_the_detector_finds_is_described_alike() -> None:
    scene = Scene(((STAR,), (CIRCLE,)))
    assert description(detect(draw_scene(scene))) == description(scene_detections(scene))


def test_added_objects_stand_in_free_cells_and_the_scene_is_kept() -> None:
    scene = Scene(((STAR,), (CIRCLE,)))
    for seed in range(20):
        extended = add_objects(scene, np.random.default_rng(seed))
        assert extended.groups[:2] == scene.groups and len(extended.items) in (3, 4)
        assert len({item.cell for item in extended.items}) == len(extended.items)
