"""What the reports say of an update: which tokens changed, and that nothing did where nothing moved."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from milr.report.changes import (
    NEW_TEXT,
    NOTHING_CHANGED,
    describe_changes,
    describe_result,
    describe_step,
    moved_latents,
    word_diff,
)
from milr.runs.records import to_record
from milr.types import ImageTrace, ModalityInfo, Rollout, Step, TextTrace
from outcomes import outcome, picture, step

BOTH = ("text", "image")


def info(norm: float, changed: int, free: int) -> ModalityInfo:
    return ModalityInfo(loss=-0.5, gradient_norm=2.0, update_norm=norm, distance=norm, tokens_changed=changed,
                        free_tokens=free)  # fmt: skip


def make_step(index: int, text: tuple[int, ...], image: tuple[int, ...], **changes) -> Step:
    rollout = Rollout(TextTrace("a star", text), ImageTrace(image), picture(index))
    return step(index, 0.5, **{"info": {}, "moved": False, "rollout": rollout, **changes})


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((BOTH, {"text": 3, "image": 1}, True), "3 text tokens and 1 image token changed"),
        ((BOTH, {"text": 0, "image": 2}, False), "2 image tokens changed"),
        ((("text",), {"text": 1, "image": 1}, True), "1 text token changed"),
        ((BOTH, {"text": 0, "image": 0}, False), NOTHING_CHANGED),
        ((BOTH, {}, False), "text and image latents moved"),
        ((BOTH, {"text": 1}, True), "1 text token changed, image latents moved"),
        (((), {"text": 0, "image": 1}, False), NOTHING_CHANGED),
        (((), {}, True), NEW_TEXT),
        ((("text",), {"text": 0}, True), "the text changed"),
    ],
)
def test_changes_in_words(arguments, expected):
    assert describe_changes(*arguments) == expected


def test_the_length_of_the_prefix_is_named_where_it_is_known():
    changed = {"text": 3, "image": 1}
    assert (
        describe_changes(BOTH, changed, True, free_tokens={"text": 9, "image": 1})
        == "3 of 9 free text tokens and 1 of 1 free image token changed"
    )


def test_frozen_moves_nothing_although_its_image_prefix_is_sampled_again():
    frozen = replace(make_step(1, (5, 6), (2,)), moved=BOTH, info={"text": info(0.0, 0, 2), "image": info(0.0, 1, 1)})
    assert moved_latents(frozen) == () and describe_step(frozen) == NOTHING_CHANGED
    assert describe_result((make_step(0, (5, 6), (1,)), frozen), 1) == NOTHING_CHANGED
    moving = replace(frozen, info={"text": info(0.1, 0, 2), "image": info(0.1, 1, 1)})
    assert describe_step(moving) == "1 of 1 free image token changed"


def test_a_step_and_its_record_are_described_alike():
    steps = (
        make_step(0, (5, 6, 7), (1, 2)),
        replace(make_step(1, (5, 9, 7), (1, 3)), moved=BOTH, info={"text": info(0.1, 1, 2), "image": info(0.1, 0, 1)},
                text_changed=True),
        replace(make_step(2, (5, 9, 8), (4, 3)), moved=("image",), info={"image": info(0.1, 1, 1)}),
    )  # fmt: skip
    record = to_record(outcome(steps=steps), ["0", "1", "2"])
    for described in (steps, record.steps):
        assert [describe_step(each) for each in described] == [
            "first picture", "1 of 2 free text tokens changed", "1 of 1 free image token changed",
        ]  # fmt: skip
        assert describe_result(described, 0) == "the first picture was kept"
        assert describe_result(described, 2) == "1 of 2 free text tokens and 1 of 1 free image token changed"


def test_a_token_that_changes_back_has_not_changed_in_the_result():
    first = make_step(0, (5, 6), (1,))
    there = replace(make_step(1, (9, 6), (1,)), moved=("text",), info={"text": info(0.1, 1, 1)}, text_changed=True)
    back = replace(make_step(2, (5, 6), (1,)), moved=("text",), info={"text": info(0.1, 1, 1)}, text_changed=True)
    assert describe_result((first, there, back), 2) == NOTHING_CHANGED
    assert describe_result((first, there, back), 1) == "1 of 1 free text token changed"


def test_a_prefix_that_ends_early_counts_the_tokens_it_lost():
    first, short = make_step(0, (5, 6, 7), (1,)), make_step(1, (5,), (1,))
    moved = replace(short, moved=("text",), info={"text": info(0.1, 2, 3)}, text_changed=True)
    assert describe_result((first, moved), 1) == "2 of 3 free text tokens changed"


def test_drawing_again_is_not_an_update():
    first, again = make_step(0, (5, 6), (1,)), make_step(1, (5, 6), (2,))
    assert describe_step(again) == NOTHING_CHANGED and describe_result((first, again), 1) == NOTHING_CHANGED
    resampled = replace(make_step(1, (8, 6), (2,)), text_changed=True)
    assert describe_step(resampled) == NEW_TEXT and describe_result((first, resampled), 1) == NEW_TEXT


def test_word_diff():
    changes = word_diff("a red star on top", "a blue star on top left")
    assert changes == [("same", "a "), ("del", "red "), ("ins", "blue "), ("same", "star on top "), ("ins", "left")]
    assert word_diff("a star", "a star") == [("same", "a star")] and word_diff("", "") == []


def test_describing_changes_loads_nothing_heavy():
    code = "import sys, milr.report.changes\nassert not {'torch', 'numpy', 'pydantic', 'PIL'} & set(sys.modules)"
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(root / "src")}, check=True)


def test_a_method_without_numbers_of_its_updates_just_moved():
    first, moved = make_step(0, (5, 6), (1,)), replace(make_step(1, (5, 6), (1,)), moved=("image",))
    assert describe_step(moved) == describe_result((first, moved), 1) == "image latents moved"


def test_image_tokens_that_were_only_sampled_again_are_no_change():
    def image_step(index: int, by_updates: int) -> Step:
        moved = replace(info(0.5, 5, 11), tokens_by_updates=by_updates)
        return replace(make_step(index, (1, 2), (5, 6), info={"image": moved}), moved=("image",))

    first = make_step(0, (1, 2), (3, 4))
    again = image_step(1, 0)
    assert describe_step(again) == describe_result([first, again], 1) == NOTHING_CHANGED
    changed = image_step(1, 2)
    assert describe_step(changed) == "2 of 11 free image tokens changed"
    later = make_step(2, (1, 2), (7, 8))
    assert describe_result([first, changed, later], 2) == "2 of 11 free image tokens changed"
