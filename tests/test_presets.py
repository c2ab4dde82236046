"""The presets are those of the method's page, flags win over them, and bad values are one sentence."""

from __future__ import annotations

from typing import Any

import pytest

from milr.policy import free_tokens
from milr.presets import PRESETS, resolve
from milr.types import UsageError

PAPER = {
    "schedule": "joint", "steps": 20, "text_ratio": 0.2, "image_ratio": 0.02, "learning_rate": 0.03, "l2": 0.0,
    "temperature": 1.0, "guidance_scale": None, "credit": "executed", "epsilon": {}, "dtype": "float32",
    "returns": "best", "role_tags": "pipe",
}  # fmt: skip
DEPARTURES: dict[str, dict[str, Any]] = {
    "paper": {},
    "paper-scaled": {"image_ratio": 11 / 64},
    "default": {"image_ratio": 11 / 64, "learning_rate": 0.01},
    "released": {"credit": "argmax", "epsilon": {"text": 1e-8, "image": 0.0}, "dtype": "model", "returns": "last",
                 "role_tags": "plain",
                 "quirks": {"open_prefix": True, "bare_image_only": True, "later_role_tags": "pipe",
                            "logits_dtype": "model", "strip_content": True, "no_minimum": True,
                            "compare_rewards": True}},
}  # fmt: skip


def test_every_preset_is_in_the_table() -> None:
    assert set(PRESETS) == set(DEPARTURES)


@pytest.mark.parametrize("name", ["paper", "paper-scaled", "released"])
def test_a_preset_has_the_values_of_the_method_page(name: str) -> None:
    assert resolve(name, 64, {}) == PAPER | DEPARTURES[name]


def test_the_default_departs_from_the_paper_only_in_what_measurements_may_favour() -> None:
    values = resolve("default", 64, {})
    same = set(PAPER) - {"text_ratio", "image_ratio", "learning_rate", "steps", "schedule", "l2", "guidance_scale"}
    assert {name: values[name] for name in same} == {name: PAPER[name] for name in same}
    assert set(values) == set(PAPER)


@pytest.mark.parametrize(
    ("preset", "image_tokens", "free"),
    [("paper", 576, 11), ("paper", 64, 1), ("paper-scaled", 576, 11), ("paper-scaled", 64, 11),
     ("paper-scaled", 16, 11), ("paper-scaled", 11, 11), ("paper-scaled", 4, 4), ("released", 576, 11)],
)  # fmt: skip
def test_how_many_image_tokens_are_free(preset: str, image_tokens: int, free: int) -> None:
    assert free_tokens(resolve(preset, image_tokens, {})["image_ratio"], image_tokens) == free


def test_paper_scaled_frees_eleven_of_any_longer_picture() -> None:
    for image_tokens in range(11, 1025):
        assert free_tokens(resolve("paper-scaled", image_tokens, {})["image_ratio"], image_tokens) == 11, image_tokens


def test_overrides_win_and_none_leaves_the_preset() -> None:
    values = resolve("paper-scaled", 64, {"image_ratio": 0.5, "steps": 0, "l2": 0.25, "learning_rate": 0.0,
                                         "schedule": "alt", "text_ratio": None, "guidance_scale": 0.0})  # fmt: skip
    assert values == PAPER | {"image_ratio": 0.5, "steps": 0, "l2": 0.25, "learning_rate": 0.0, "schedule": "alt",
                             "guidance_scale": 0.0}  # fmt: skip


def test_resolving_changes_no_preset() -> None:
    before = {name: dict(values) for name, values in PRESETS.items()}
    resolve("released", 64, {"schedule": "image", "steps": 3})
    assert {name: dict(values) for name, values in PRESETS.items()} == before


def test_the_release_has_an_epsilon_for_the_image_where_it_moves_alone() -> None:
    assert resolve("released", 64, {"schedule": "image"})["epsilon"] == {"image": 1e-8}
    assert resolve("paper", 64, {"schedule": "image"})["epsilon"] == {}


BAD = [
    ("text_ratio", 0.0), ("text_ratio", 1.01), ("text_ratio", -0.2), ("image_ratio", 0.0), ("image_ratio", 2.0),
    ("image_ratio", float("nan")), ("steps", -1), ("learning_rate", -0.03), ("learning_rate", float("nan")),
    ("learning_rate", float("inf")), ("l2", -1.0), ("l2", float("nan")), ("temperature", 0.0), ("temperature", -1.0),
    ("temperature", float("nan")), ("temperature", float("inf")), ("guidance_scale", -1.0), ("guidance_scale", 101.0),
    ("guidance_scale", float("nan")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_is_one_sentence_that_names_it(name: str, value: float) -> None:
    with pytest.raises(UsageError) as caught:
        resolve("paper", 64, {name: value})
    sentence = str(caught.value)
    assert name in sentence and str(value) in sentence
    assert sentence.endswith(".") and ". " not in sentence and "\n" not in sentence


GOOD = [("text_ratio", 1.0), ("image_ratio", 1e-6), ("steps", 0), ("learning_rate", 0.0), ("guidance_scale", 100.0)]


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_values_at_the_border_are_good(name: str, value: float) -> None:
    assert resolve("paper", 64, {name: value})[name] == value
