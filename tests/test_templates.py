"""The exact strings, in both role-tag styles."""

from __future__ import annotations

import pytest

from milr.templates import JANUS, NANO, Templates, drawing
from milr.types import UsageError

PLAIN = {style: Templates("think of {prompt}", "is it {prompt}?", role_tags=style) for style in ("pipe", "plain")}


def test_the_drawing_turn_in_both_styles() -> None:
    assert PLAIN["pipe"].draw("a star") == "<|User|>: a star\n\n<|Assistant|>:"
    assert PLAIN["plain"].draw("a star") == "User: a star\n\nAssistant:"


def test_the_system_text_is_the_first_paragraph() -> None:
    spoken = Templates("think of {prompt}", "is it {prompt}?", reasoning_system="Be brief.", role_tags="plain")
    assert spoken.reason("a star") == "Be brief.\n\nUser: think of a star\n\nAssistant:"
    assert spoken.draw("a star") == "User: a star\n\nAssistant:"


def test_the_drawing_content() -> None:
    assert drawing("a star", "a big star left") == "a star. a big star left"
    assert drawing("a star") == "a star"
    assert drawing("a star", "") == "a star"


def test_the_turn_about_a_picture() -> None:
    spoken = Templates("{prompt}", "{prompt}", answering_system="Look.")
    assert spoken.ask("red?", "<IMG>") == "Look.\n\n<|User|>: <IMG>\nred?\n\n<|Assistant|>:"


def test_what_nano_was_trained_on() -> None:
    assert NANO.reason("a red star") == "<|User|>: plan the picture : a red star\n\n<|Assistant|>:"
    assert NANO.judge("a red star") == "does this picture show a red star ? answer yes or no ."
    assert NANO.ask("red ?", "<IMG>") == "<|User|>: <IMG>\nred ?\n\n<|Assistant|>:"


def test_the_reasoning_prompt_of_janus_asks_for_what_the_papers_does() -> None:
    turn = JANUS.reason("a red star")
    assert turn.count("a red star") == 1
    for demand in ("colour", "number", "shape", "texture", "50 words", "every object", "explain nothing"):
        assert demand in turn
    assert "{prompt}" not in turn + JANUS.judge("a red star")
    assert "yes or no" in JANUS.judge("a red star")


def test_overriding_keeps_the_rest() -> None:
    changed = JANUS.override(role_tags="plain", reasoning="draw {prompt} {as is}")
    assert changed.reason("a star").endswith("User: draw a star {as is}\n\nAssistant:")
    assert changed.question == JANUS.question
    assert JANUS.override() == JANUS


@pytest.mark.parametrize("wrong", [{"reasoning": "no place"}, {"question": "no place"}, {"role_tags": "angle"}])
def test_a_template_that_cannot_work_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        JANUS.override(**wrong)  # type: ignore[arg-type]
