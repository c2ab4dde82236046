"""Which modalities move at which step, as a table (Algorithm 2)."""

from __future__ import annotations

import pytest

from milr.latent.schedules import SCHEDULES

LETTERS = {("text", "image"): "B", ("text",): "T", ("image",): "I"}
TABLE = {
    ("joint", 5): "BBBBB",
    ("alt", 5): "TITIT",
    ("alt", 1): "T",
    ("t2v", 6): "TTTIII",
    ("t2v", 5): "TTIII",  # floor(K / 2)
    ("t2v", 1): "I",
    ("t2v", 20): "T" * 10 + "I" * 10,
    ("text", 3): "TTT",
    ("image", 3): "III",
}


@pytest.mark.parametrize(("name", "steps"), TABLE)
def test_a_schedule_moves_what_the_table_says(name: str, steps: int) -> None:
    moves = [SCHEDULES[name].moves(step, steps) for step in range(1, steps + 1)]
    assert "".join(LETTERS[moved] for moved in moves) == TABLE[name, steps]


def test_there_are_five_schedules_and_each_knows_its_modalities() -> None:
    assert {name: schedule.modalities for name, schedule in SCHEDULES.items()} == {
        "joint": ("text", "image"),
        "alt": ("text", "image"),
        "t2v": ("text", "image"),
        "text": ("text",),
        "image": ("image",),
    }
    assert all(name == schedule.name for name, schedule in SCHEDULES.items())


@pytest.mark.parametrize("name", SCHEDULES)
def test_what_moves_is_free(name: str) -> None:
    schedule = SCHEDULES[name]
    for steps in range(1, 8):
        for step in range(1, steps + 1):
            assert set(schedule.moves(step, steps)) <= set(schedule.modalities)
