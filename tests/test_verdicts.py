"""What nano learns to say before its yes or no, on scenes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from milr.shapes.detector import detect
from milr.shapes.drawing import draw_scene
from milr.shapes.grammar import parse
from milr.shapes.judge import sightings
from milr.shapes.scenes import Item, Look, Scene
from milr.shapes.training.examples import crowd
from milr.shapes.training.verdicts import check, listing, verdict

STAR, CIRCLE = Item(Look("star", "red"), 0), Item(Look("circle", "blue", "small", "striped"), 6)
HEARTS = tuple(Item(Look("heart", "green"), cell) for cell in (9, 2))
SEEN = sightings(Scene(((CIRCLE,), (STAR,), HEARTS)))


def test_the_listing_is_in_reading_order_with_all_attributes() -> None:
    assert listing(SEEN) == ("star red solid large a1 , heart green solid large a3 , circle blue striped small b3 , "
                             "heart green solid large c2")  # fmt: skip
    assert listing({}) == "nothing"


RED, BLUE = "star red solid large a1", "circle blue striped small b3"
GREEN = "heart green solid large a3 heart green solid large c2"


@pytest.mark.parametrize(
    ("asked", "said", "answer"),
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
def test_checks_and_verdicts_by_hand(asked: str, said: str, answer: str) -> None:
    request = parse(asked)
    assert request is not None
    assert check(SEEN, request) == said
    assert verdict(SEEN, request, asked) == answer


def test_what_the_detector_sees_is_told_alike() -> None:
    scene = Scene(((STAR,), (CIRCLE,)))
    assert listing(detect(draw_scene(scene))) == listing(sightings(scene))


def test_a_crowd_keeps_the_scene_and_adds_objects_in_free_cells() -> None:
    scene = Scene(((STAR,), (CIRCLE,)))
    for seed in range(20):
        more = crowd(scene, np.random.default_rng(seed))
        assert more.groups[:2] == scene.groups and len(more.items) in (3, 4)
        assert len({item.cell for item in more.items}) == len(more.items)
