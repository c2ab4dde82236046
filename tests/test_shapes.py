"""The embedded world: what is said, planned, drawn and turned into tokens agrees with itself and with GenEval."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from milr.shapes import grammar, planning, sampling, scenes, splits
from milr.shapes.drawing import draw_scene
from milr.shapes.grammar import Phrase, Request, metadata, parse, to_prompt
from milr.shapes.judge import scene_verdict
from milr.shapes.scenes import Appearance, Item, Scene
from milr.shapes.training import patches
from milr.shapes.training.examples import Examples, image_weights, near_miss
from milr.shapes.training.network import UNKNOWN, make_tokenizer


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("a photo of a star", Request((Phrase("star"),))),
        ("Three red hearts.", Request((Phrase("heart", "red", count=3),))),
        ("a photo of an orange star and an hourglass", Request((Phrase("star", "orange"), Phrase("hourglass")))),
        ("a star to the left of a circle", Request((Phrase("star"), Phrase("circle")), "left of")),
        ("a small striped red moon under a cross",
         Request((Phrase("moon", "red", "small", "striped"), Phrase("cross")), "below")),
        ("a picture of the shape with three sides in the colour of grass",
         Request((Phrase("triangle", "green"),), riddle=True)),
        ("as many crosses as a cat has legs", Request((Phrase("cross", count=4),), riddle=True)),
        ("a heart in the colour of snow", Request((Phrase("heart", "white"),), riddle=True)),
    ],
)  # fmt: skip
def test_free_text_is_read(text: str, request_: Request) -> None:
    assert parse(text) == request_


@pytest.mark.parametrize(
    "text",
    ["a dog", "a red blue star", "five stars", "a star near a circle", "", "a star a star",
     "a red star left of a blue star", "the colour of grass", "as many as a cat has legs"],
)  # fmt: skip
def test_other_text_is_not_read(text: str) -> None:
    assert parse(text) is None


def test_metadata_is_geneval_s() -> None:
    prompt = to_prompt("a photo of a red star left of a circle")
    assert prompt is not None and prompt.category == "color_position"
    assert prompt.metadata == {
        "tag": "color_position",
        "include": [{"class": "circle", "count": 1},
                    {"class": "star", "count": 1, "color": "red", "position": ["left of", 0]}],
        "prompt": "a photo of a red star left of a circle",
    }  # fmt: skip
    counted = to_prompt("a photo of two hearts")
    assert counted is not None and counted.metadata is not None
    assert counted.metadata["exclude"] == [{"class": "heart", "count": 3}]


@pytest.mark.parametrize("category", grammar.CATEGORIES + grammar.HARD)
def test_every_category_reads_back_and_its_scenes_are_right(category: str) -> None:
    rng = np.random.default_rng(7)
    for _ in range(60):
        request, text = (sampling.SAMPLERS | sampling.HARD_SAMPLERS)[category](rng)
        said = sampling.reword(text, rng)
        assert parse(said) == request, said
        assert request.category == category or (category, request.category) == ("binding", "described")
        scene = planning.sample_scene(request, rng)
        assert len({item.cell for item in scene.items}) == len(scene.items)
        assert scene_verdict(scene, metadata(request, said)).correct, (said, scene)


def test_near_misses_are_wrong_but_for_one_in_a_hundred() -> None:
    rng = np.random.default_rng(3)
    wrong = lucky = 0
    for _ in range(400):
        request, text = sampling.training_prompt(rng, splits.is_held_out)
        shown = near_miss(request, rng)
        verdict = scene_verdict(planning.sample_scene(shown, rng), metadata(request, text))
        assert verdict.correct or shown != request, (text, shown)
        wrong += not verdict.correct
        lucky += verdict.correct and shown != request  # an open colour swapped in, a diagonal that is both relations
    assert wrong > 300 and lucky <= 4


def test_split_file_is_what_its_seed_makes() -> None:
    assert splits.load_split() == splits.make_split()


def test_training_never_sees_what_is_held_out() -> None:
    rng = np.random.default_rng(1)
    held = {tuple(pair) for name in splits.SPLITS for pair in splits.load_split()[name]["pairs"]}
    seen = set()
    for _ in range(3000):
        request, text = sampling.training_prompt(rng, splits.is_held_out)
        shapes = tuple(sorted({phrase.shape for phrase in request.phrases}))
        assert shapes not in held, text
        seen.add(shapes)
    assert ("circle", "star") in seen  # the prompt of the README is not a held-out one


def test_no_question_about_a_picture_names_what_is_held_out() -> None:
    tokenizer = make_tokenizer()
    source = Examples(tokenizer, 2)
    for _ in range(300):
        example = source.answer()
        for question, answer in ((example.ids, example.target), *example.turns):
            if "answer yes or no" not in tokenizer.decode(question):
                continue
            said = tokenizer.decode(question).split("this picture show ")[1].split(" ? ")[0]
            request = parse(said)
            assert request is not None and not splits.is_held_out(request), said
            assert tokenizer.decode(answer).split()[-2] in ("yes", "no")


def test_test_prompts_are_held_out_in_the_composed_categories() -> None:
    for split in splits.SPLIT_NAMES:
        owner = splits.HARD[split][0] if split in splits.HARD else split
        found = splits.prompts(split)
        assert len(found) == len(splits.load_split()[split]["prompts"])
        for prompt in found:
            request = parse(prompt.text)
            assert request is not None
            alone = prompt.category in ("single_object", "counting", "described_count") or (
                prompt.category == "binding" and len(request.phrases) == 1)  # fmt: skip
            assert alone or splits.split_of(request, splits.load_split()) == owner, prompt.text


def test_the_second_hard_split_has_new_prompts_of_the_same_kinds() -> None:
    first, second = splits.prompts("hard"), splits.prompts("hard-second")
    assert Counter(prompt.category for prompt in first) == Counter(prompt.category for prompt in second)
    assert not {prompt.text for prompt in first} & {prompt.text for prompt in second}


def test_drawing_puts_objects_where_the_scene_says() -> None:
    picture = draw_scene(Scene(((Item(Appearance("square", "red"), 6),),)))
    assert tuple(picture[24, 40]) == scenes.COLOURS["red"]  # the middle of row b, column 3
    assert tuple(picture[8, 8]) == scenes.BACKGROUND


def test_tokens_of_a_scene_are_its_patches() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        request, _ = sampling.training_prompt(rng, splits.is_held_out)
        scene = planning.sample_scene(request, rng)
        again = patches.mosaic(patches.codebook()[0][patches.scene_tokens(scene)])
        assert np.abs(again.astype(int) - draw_scene(scene)).mean() < patches.NEAR


def test_visualisation_commits_early_and_in_the_order_of_the_prompt() -> None:
    scene = Scene(((Item(Appearance("star", "red"), 4),), (Item(Appearance("circle", "blue", "small", "striped"), 6),)))
    assert planning.visualise(scene) == (
        "b1 red star , b3 blue circle : the red star is large and solid , the blue circle is small and striped ; "
        "two objects in all , plain grey ground ."
    )
    assert planning.is_plan(planning.visualise(scene))
    for broken in ("b1 red pizza : the star is large and solid .", "red star b1 : .", "", "b1 red star"):
        assert not planning.is_plan(broken)


def test_the_vocabulary_covers_everything_that_is_said() -> None:
    tokenizer = make_tokenizer()
    source = Examples(tokenizer, 0)
    unknown = tokenizer.convert_tokens_to_ids(UNKNOWN)
    for _ in range(300):
        for example in (source.reason(), source.draw(True), source.draw(False), source.answer()):
            turns = [example.ids, example.target, *(ids for turn in example.turns for ids in turn)]
            assert unknown not in {token for ids in turns for token in ids}
    for split in splits.SPLITS:
        for prompt in splits.prompts(split):
            assert unknown not in tokenizer(prompt.text).input_ids, prompt.text


def test_visualisations_survive_decoding() -> None:
    tokenizer = make_tokenizer()
    source = Examples(tokenizer, 5)
    for _ in range(50):
        target = source.reason().target[:-1]
        assert tuple(tokenizer(tokenizer.decode(target), add_special_tokens=False).input_ids) == target


def test_loss_weights_are_the_same_for_both_outcomes_where_a_bare_prompt_leaves_them_open() -> None:
    source = Examples(make_tokenizer(), 0)
    example = source.draw(False)
    weights = image_weights([example]).view(8, 8)
    assert (weights[::2, ::2] == 1).all()
    assert weights.sum() < 64
