"""The embedded world as a model brings it: what it reads, its words, and what it says to other prompts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from milr.base import World
from milr.catalog import world_needed, worlds
from milr.models.janus import JanusModel
from milr.options import Options
from milr.rewards.function import FunctionReward
from milr.shapes.world import ShapesWorld
from milr.workflows.prepare import prepare

SHAPES = ShapesWorld()
RED = "a photo of a red star left of a blue circle"


def test_a_world_satisfies_the_contract_and_is_in_the_catalogue() -> None:
    assert isinstance(SHAPES, World) and worlds()["shapes"].name == "shapes"
    assert world_needed(FunctionReward(lambda picture, prompt: 1.0, "mine")) is None


def test_prompts_of_the_world_get_metadata_and_others_do_not() -> None:
    known = SHAPES.read(RED, "7")
    assert known is not None and known.id == "7" and known.metadata is not None
    assert SHAPES.read("a cat") is None


def test_every_example_of_the_vocabulary_is_read() -> None:
    words = SHAPES.vocabulary()
    assert all(SHAPES.read(example) for example in words["examples"])
    for shape, plural in zip(words["shapes"], words["plurals"], strict=True):
        assert SHAPES.read(f"a red {shape}") and SHAPES.read(f"three {plural}")


@pytest.mark.parametrize(
    ("text", "advice"),
    [("a red circel", "'circle' for 'circel'"), ("two yelow strs", "'yellow' for 'yelow', 'stars' for 'strs'"),
     ("a cat", "such as"), ("", "such as")],
)  # fmt: skip
def test_advice_names_the_nearest_words_or_what_can_be_drawn(text: str, advice: str) -> None:
    assert advice in SHAPES.advice(text) and "milr list words" in SHAPES.advice(text)


def test_prompts_outside_the_models_world_bring_a_warning(tiny: JanusModel) -> None:
    (warning,) = prepare([RED, "a cat", "two cat"], Options(steps=0)).warnings
    assert "'a cat' and 1 other prompt are not about it" in warning
    assert prepare([RED], Options(steps=0)).warnings == ()
    assert prepare(["a star of red"], Options(steps=0, reward="self"), model=tiny).warnings == ()


def test_judges_by_default_are_those_of_the_world(tiny: JanusModel) -> None:
    assert (
        prepared := prepare([RED], Options(steps=0))
    ).reward_name == "held-out" and prepared.metric_name == "detector"
    assert prepare([RED, "a cat"], Options(steps=0)).reward_name == "held-out or self"
    assert prepare(["a cat"], Options(steps=0)).reward_name == "self chosen by own"
    assert prepare(["a red star"], Options(steps=0), model=tiny).reward_name == "self chosen by own"


def test_the_command_line_lists_words_warns_and_corrects(milr: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = milr("list", "words")
    assert code == 0 and "hourglass" in out and "a ripe tomato" in out
    code, out, _ = milr("generate", "a cat", "--steps", "0", "--out", "cat")
    assert code == 0 and "warning" in out and "milr list words" in out
    code, _, err = milr("generate", "a red circel", "--out", "circle")
    assert code == 2 and "'circle' for 'circel'" in err
