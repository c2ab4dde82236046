"""What `--method auto` comes to, for every kind of model and judge."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from milr import catalog
from milr.base import UnifiedModel
from milr.models.janus import JanusModel
from milr.options import Options
from milr.rewards.choice import ChoiceReward
from milr.types import Prompt
from milr.workflows.auto import resolve_auto
from milr.workflows.prepare import prepare
from scripted import Brightness


@pytest.fixture(scope="module")
def nano() -> UnifiedModel:
    return catalog.make_model("nano", device="cpu")


SQUARES = (Prompt("a photo of two green squares"),)


def chosen(model: UnifiedModel, reward: str, metric: str = "detector", prompts: tuple[Prompt, ...] = SQUARES,
           **options: Any) -> tuple[str, str, str | None]:  # fmt: skip
    found = resolve_auto(Options(**options), (reward, metric), model, prompts)
    return found.method, found.reward or reward, found.choose


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        ("self", ("repair", "own", None)),
        ("self:json", ("repair", "own", None)),
        ("noisy:0.1,0.1", ("repair", "noisy:0.1,0.1", "own")),
        ("judge", ("repair", "judge", "own")),
        ("held-out", ("repair", "held-out", None)),
        ("detector", ("repair", "detector", None)),
        ("clip", ("repair", "clip", None)),
        ("seen", ("repair", "seen", None)),
        ("mine.py:score", ("repair", "mine.py:score", None)),
        ("weighted:self=0.5,clip=0.5", ("repair", "weighted:self=0.5,clip=0.5", None)),
    ],
)
def test_a_calibrated_model_repairs(nano: UnifiedModel, reward: str, expected: tuple[str, str, str | None]) -> None:
    assert chosen(nano, reward) == expected


@pytest.mark.parametrize(
    ("reward", "choose"), [("self", "own"), ("noisy:0.1,0.1", "own"), ("judge", "own"), ("clip", None), ("f", None)]
)
def test_another_model_draws_again(nano: UnifiedModel, reward: str, choose: str | None) -> None:
    assert chosen(SimpleNamespace(), reward) == ("redraw_sampled", reward, choose)  # type: ignore[arg-type]
    outside = (*SQUARES, Prompt("a cat on a skateboard"))  # nano's verdict was measured in its world only
    assert chosen(nano, reward, prompts=outside) == ("redraw_sampled", reward, choose)


def test_what_the_user_says_stays(nano: UnifiedModel) -> None:
    assert chosen(nano, "self", "self") == ("repair", "self", None)  # the judge is what is reported
    assert chosen(nano, "noisy:0.1,0.1", "own") == ("repair", "noisy:0.1,0.1", None)  # and so is what chooses
    assert chosen(nano, "self", choose="seen") == ("repair", "self", "seen")
    assert chosen(nano, "noisy:0.1,0.1", choose="seen") == ("repair", "noisy:0.1,0.1", "seen")
    assert chosen(nano, "self", method="frozen") == ("frozen", "self", None)


@pytest.mark.parametrize(
    "options",
    [{"preset": "paper"}, {"schedule": "text"}, {"text_ratio": 0.1}, {"image_ratio": 0.1}, {"learning_rate": 0.1},
     {"l2": 0.1}],
)  # fmt: skip
def test_a_setting_of_the_papers_method_means_that_method(nano: UnifiedModel, options: dict[str, Any]) -> None:
    assert chosen(nano, "self", **options) == ("latent_reasoning", "self", None)


def test_a_run_says_what_auto_came_to_and_is_the_run_of_that_name(nano: UnifiedModel) -> None:
    auto = prepare(SQUARES, Options(reward="self"), model=nano).config()
    named = prepare(SQUARES, Options(reward="own", method="repair"), model=nano).config()
    assert auto.notes[0] == "--method auto: repair, judged by own."
    assert not any("auto" in note for note in named.notes)
    assert auto.model_copy(update={"notes": ()}) == named.model_copy(update={"notes": ()})


def test_what_must_be_known_of_either_judge_stays_with_the_run(nano: UnifiedModel) -> None:
    options = Options(reward="judge", judge_url="http://127.0.0.1:9/v1", judge_model="none")
    prepared = prepare(SQUARES, options, model=nano)
    assert prepared.reward.name == "judge chosen by own"
    said = "The search reward judge chosen by own: Wording of judge: own wording"
    assert any(note.startswith(said) for note in prepared.config().notes)


def test_a_run_that_stops_by_its_metric_says_so(nano: UnifiedModel) -> None:
    for reward, choose in (("detector", "own"), ("noisy:0.1,0.1", "detector"), ("noisy:0.1,0.1", "rank:own,detector")):
        notes = prepare(SQUARES, Options(reward=reward, choose=choose), model=nano).config().notes
        assert any(note.startswith("The search stops or chooses by detector, which is also the") for note in notes)
    assert not any("also" in note for note in prepare(SQUARES, Options(choose="own"), model=nano).config().notes)


def test_a_judge_without_a_calibration_chooses_and_does_not_stop(nano: UnifiedModel, tiny: JanusModel) -> None:
    prepared = prepare(["a red star"], Options(), model=tiny)
    assert (prepared.options.method, prepared.reward.name) == ("redraw_sampled", "self chosen by own")
    assert prepared.threshold == 0.5  # whatever passes is above
    measured = prepare(SQUARES, Options(reward="noisy:0.1,0.1"), model=nano)
    assert (
        isinstance(measured.reward, ChoiceReward) and measured.threshold == (1 + measured.reward.choosing.threshold) / 2
    )
    plain = ChoiceReward(("a", Brightness()), ("b", Brightness()))
    assert plain.threshold == (1 + Brightness.threshold) / 2
