"""What the reports say of an update: which tokens changed, and that nothing did where nothing moved."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from milr.report.changes import (
    NEW_TEXT,
    NOTHING_CHANGED,
    count_free,
    describe_changes,
    describe_result,
    describe_step,
    moved_latents,
    word_diff,
)
from milr.runs.records import PictureFile, Record, to_record
from milr.types import ImageTrace, Modality, ModalityInfo, Rollout, Step, TextTrace
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


def counted(index: int, moved: tuple[Modality, ...], free: dict[Modality, int], **counts: int) -> Step:
    """A step that moved modalities with so many free tokens, and the counts by updates of all free modalities."""
    infos = {modality: info(0.1, 1, free[modality]) for modality in moved}
    return replace(make_step(index, (5, index), (1, index)), moved=moved, info=infos, text_changed="text" in moved,
                   tokens_by_updates=cast(dict[Modality, int], counts))  # fmt: skip


FREE: dict[Modality, int] = {"text": 9, "image": 1}


def test_steps_and_their_records_are_described_alike_by_all_updates_so_far():
    steps = (
        make_step(0, (5, 6), (1, 2)),
        counted(1, ("text",), FREE, text=3, image=0),
        counted(2, ("image",), FREE, text=3, image=1),
        counted(3, ("text",), FREE, text=0, image=1),
        counted(4, (), FREE, text=2, image=0),  # after an unscored picture
        counted(5, ("image",), FREE, text=0, image=0),
    )
    record = to_record(outcome(steps=steps), [PictureFile(str(index)) for index in range(6)])
    for described in (steps, record.steps):
        assert [describe_result(described, index) for index in range(6)] == [
            "the first picture was kept",
            "3 of 9 free text tokens changed",
            "3 of 9 free text tokens and 1 of 1 free image token changed",
            "1 of 1 free image token changed",
            "2 of 9 free text tokens changed",
            NOTHING_CHANGED,
        ]
        assert describe_step(described[0]) == "first picture"
        assert describe_step(described[2]) == "3 text tokens and 1 of 1 free image token changed"
        assert describe_step(described[2], FREE) == describe_result(described, 2)


def test_a_result_is_described_as_its_step():
    steps = [make_step(0, (5, 6), (3, 4)), counted(1, ("image",), FREE, image=1), counted(2, ("image",), FREE, image=0)]
    for index in (1, 2):
        assert describe_result(steps, index) == describe_step(steps[index], count_free(steps))
    assert count_free(steps) == {"image": 1}


def test_counts_survive_a_record_and_are_absent_from_older_ones():
    record = to_record(
        outcome(steps=(make_step(0, (5, 6), (1,)), counted(1, ("text",), FREE, text=3))),
        [PictureFile("0"), PictureFile("1")],
    )
    assert [each.tokens_by_updates for each in record.steps] == [{}, {"text": 3}]
    again = Record.model_validate_json(record.model_dump_json())
    assert again == record
    older = record.model_dump(mode="json")
    for each in older["steps"]:
        del each["tokens_by_updates"]
    older["steps"][1]["info"]["text"]["tokens_by_updates"] = 7  # as one version wrote it
    assert describe_step(Record.model_validate(older).steps[1]) == "1 of 9 free text tokens changed"


def test_older_records_say_what_differs_from_the_step_before():
    first = make_step(0, (5, 6), (1,))
    there = replace(make_step(1, (9, 6), (1,)), moved=("text",), info={"text": info(0.1, 1, 1)}, text_changed=True)
    drawn = replace(make_step(2, (9, 6), (2,)), moved=("text",), info={"text": info(0.1, 0, 1)})
    steps = (first, there, drawn)
    for index, expected in ((1, "1 of 1 free text token changed"), (2, NOTHING_CHANGED)):
        assert describe_step(steps[index]) == describe_result(steps, index) == expected


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
    again = replace(make_step(1, (1, 2), (5, 6), info={"image": info(0.5, 5, 11)}), moved=("image",))
    assert describe_step(replace(again, tokens_by_updates={"image": 0})) == NOTHING_CHANGED
    assert describe_step(replace(again, tokens_by_updates={"image": 2})) == "2 of 11 free image tokens changed"
