"""The cards of a run's page: marks, filters, and what they are sorted by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from milr.report.cards import LABELS, card_marks, category_filters, category_numbers, found_at, mark_filters, solved_at
from milr.report.changes import NEW_TEXT, NOTHING_CHANGED, cause_of, describe_result
from milr.report.failures import failure_marks
from milr.report.html import write_report
from milr.runs.records import PictureFile, Record, to_record
from milr.runs.store import RunStore
from milr.types import ModalityInfo, Outcome, Prompt, Score
from outcomes import GREEN, RED, config, outcome, step
from page import Page


def record(*arguments, **changes) -> Record:
    sample = outcome(*arguments, **changes)
    return to_record(sample, [PictureFile(str(index)) for index in range(len(sample.steps))])


def kinds(sample: Record, threshold: float | None = 0.9) -> list[str]:
    return [mark.kind for mark in card_marks(sample, threshold, describe_result(sample.steps, sample.returned))]


def test_solved_is_a_returned_picture_above_the_threshold_at_the_first_such_step():
    assert solved_at(record(scores=(0.2, 0.95, 0.97)), 0.9) == 1
    assert solved_at(record(scores=(0.2, 0.9)), 0.9) is None, "the threshold is strict"
    assert solved_at(record(scores=(0.2, 0.95, 0.3), returned=2), 0.9) is None, "the returned picture counts"
    assert solved_at(record(scores=(1.0,)), None) is None and solved_at(record(scores=(None,), best=None), 0.9) is None


def test_without_a_threshold_cards_are_sorted_by_the_returned_step():
    sample = record(scores=(0.2, 0.95, 0.97))
    assert (found_at(sample, 0.9), found_at(sample, None), found_at(sample, 0.99)) == (1, 2, None)


def test_marks_of_a_card():
    assert kinds(record(scores=(0.2, 0.95))) == ["solved", "update"]
    assert kinds(record(scores=(0.2, 0.5))) == ["failed", "update"]
    assert kinds(record(scores=(0.2, 0.5)), None) == ["update"], "solved or not is not known"
    assert kinds(record(scores=(None,), best=None)) == ["unscored", "kept"], "an unscored picture has not failed"
    hacked = record(scores=(0.2, 0.95), judged={0: Score(0.8), 1: Score(0.1)})
    assert kinds(hacked) == ["solved", "possible-reward-hacking", "update"]
    surprising = ModalityInfo(0, 0, 0.1, 1.5, 1, 4, surprise=9.0)
    steps = (step(0, 0.1), step(1, 0.95, repetition=0.9, info={"image": surprising}))
    assert kinds(record(steps=steps)) == ["solved", "text-collapse", "image-collapse", "update"]
    texts = [mark.text for mark in card_marks(record(scores=(0.2, 0.95)), 0.9, "1 token changed")]
    assert texts == ["✓ solved at step 1", "changed by the update"]


def test_every_failure_has_a_button():
    surprising = {name: ModalityInfo(0, 0, 0, 0, 1, 4, surprise=9.0) for name in ("text", "image")}
    worst = record(steps=(step(0, 0.1), step(1, None, info=surprising)))
    assert {mark.replace(" ", "-") for mark in failure_marks(worst.steps[1])} <= set(LABELS)


@pytest.mark.parametrize(
    ("changes", "change", "cause"),
    [
        ({}, "1 of 4 free text tokens changed", "update"),
        ({}, "text latents moved", "update"),
        ({}, NOTHING_CHANGED, "luck"),
        ({}, NEW_TEXT, "luck"),
        ({"note": NOTHING_CHANGED}, NOTHING_CHANGED, "noted"),
    ],
)
def test_why_the_returned_picture_is_another(changes, change, cause):
    assert cause_of(step(1, 0.5, **changes), change) == cause
    assert cause_of(replace(step(1, 0.5, **changes), index=0), change) == "kept"


def test_buttons_are_those_that_choose_something():
    solved, failed = record(scores=(0.2, 0.95)), record(GREEN, (0.2, 0.5))
    cards = [card_marks(each, 0.9, "1 token changed") for each in (solved, failed)]
    assert [(each.key, each.count) for each in mark_filters(cards)] == [("solved", 1), ("failed", 1), ("update", 2)]
    assert mark_filters([card_marks(solved, None, "1 token changed")]) == []
    records = [solved, failed, record(Prompt("none"))]
    categories = [each.prompt.category for each in records]
    filters = category_filters(categories, category_numbers(categories))
    assert [(each.key, each.text, each.count) for each in filters] == [
        ("0", "other", 1), ("1", "colors", 1), ("2", "position", 1)
    ]  # fmt: skip
    assert category_filters(["colors"], {"colors": 0}) == []


def pages_cards(folder: Path, *outcomes: Outcome, **changes) -> tuple[Page, list[dict[str, str | None]]]:
    with RunStore(folder).open(config(prompt_count=len(outcomes), **changes)) as store:
        for each in outcomes:
            store.write(each)
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    return page, [attributes for attributes in page.named("li") if "data-marks" in attributes]


def test_cards_carry_what_they_are_chosen_and_sorted_by(tmp_path):
    outcomes = [outcome(RED, (0.2, 0.95), judged={1: Score(0.7)}), outcome(GREEN, (None,), best=None)]
    page, cards = pages_cards(tmp_path, *outcomes)
    cards.sort(key=lambda card: card["data-category"] or "")
    unscored, solved = cards
    assert {name: solved[f"data-{name}"] for name in ("category", "marks", "score", "judged", "step")} == {
        "category": "1", "marks": "solved update", "score": "0.95", "judged": "0.7", "step": "1"}  # fmt: skip
    assert (unscored["data-score"], unscored["data-step"]) == ("", "") and "data-judged" not in unscored
    keys = {(button["data-name"], button["data-key"]) for button in page.named("button")}
    assert keys == {("category", "0"), ("category", "1"), *(("marks", each) for each in
                    ("solved", "unscored", "kept", "update"))}  # fmt: skip
    assert {button["aria-pressed"] for button in page.named("button")} == {"false"}
    assert "judged" in {option["value"] for option in page.named("option")}


def test_without_its_script_the_page_has_no_controls_and_every_step(tmp_path):
    page, _ = pages_cards(tmp_path, outcome(scores=(0.1, 0.2, 0.3)), outcome(GREEN, (0.5,)))
    (tools,) = [attributes for _, attributes in page.tags if attributes.get("id") == "tools"]
    assert "hidden" in tools, "the script shows it"
    steps = [attributes for attributes in page.named("li") if (attributes.get("class") or "").startswith("step")]
    assert len(steps) == 4 and not any("hidden" in attributes for attributes in steps)
    assert len(page.named("summary")) == 2 + 1


def test_one_sample_has_no_controls(tmp_path):
    page, cards = pages_cards(tmp_path, outcome())
    assert len(cards) == 1 and not page.named("button") and not page.named("select")
