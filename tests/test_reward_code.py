"""The identity of a reward's code: recorded, so that moved files and new names do not end stored runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import reward_code
from milr.catalog import identity
from milr.rewards.by_prompt import ByPromptReward
from milr.rewards.detector import DetectorReward
from milr.rewards.self import SelfReward
from milr.runs.store import RunStore
from milr.types import UsageError
from outcomes import config

RECORDED = json.loads(reward_code.FILE.read_text())


@pytest.mark.parametrize("rewards", reward_code.groups(), ids="+".join)
def test_the_record_is_of_the_code_as_it_stands(rewards: tuple[str, ...]) -> None:
    assert RECORDED["+".join(rewards)]["code"] == identity.code_hash(rewards), (
        f"the code of {' and '.join(rewards)} has changed: run `python -m tests.reward_code` if no verdict has, "
        f"else `python -m tests.reward_code {rewards[0]}`"
    )


def test_known_code_has_its_recorded_identity_and_other_code_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    known = RECORDED["detector"]["identity"]
    assert identity.reward_identity("detector") == {"sources": known}
    assert identity.reward_identity("noisy:0.1,0.2")["sources"] == RECORDED["noisy"]["identity"] != known
    monkeypatch.setattr(identity, "code_hash", lambda rewards: "of other code")
    assert identity.reward_identity("detector") == {"sources": "of other code"}


def test_names_of_several_rewards_are_on_record() -> None:
    for name in ("held-out or self", "self:json", "self"):
        assert "+".join(identity.rewards_named(name)) in RECORDED


class Named:
    """A judge that says something of itself."""

    range, needs, licence, threshold = (0.0, 1.0), (), "", 0.9

    def __init__(self, name: str, wording: str) -> None:
        self.name, self.wording = name, wording

    def identity(self) -> dict[str, str]:
        return {"wording": self.wording}


def test_one_of_two_judges_is_known_by_what_both_say(monkeypatch: pytest.MonkeyPatch) -> None:
    detector, one, other = DetectorReward(), Named("judge", "1"), Named("judge", "2")
    first, second = (identity.reward_identity("detector or judge", ByPromptReward(detector, judge))
                     for judge in (one, other))  # fmt: skip
    assert first["own"] == {"judge": {"wording": "1"}} and first != second
    assert "own" not in identity.reward_identity("held-out or self", ByPromptReward(detector, SelfReward(str)))
    monkeypatch.setattr("milr.rewards.vision.checkpoints.loaded_revision", lambda checkpoint: "r1")
    assert len(identity.reward_identity("geneval or clip")["checkpoints"]) > len(
        identity.reward_identity("geneval")["checkpoints"]
    )


def test_a_run_that_other_code_judged_is_refused_with_the_reason(tmp_path: Path) -> None:
    old = {"sources": "code of before", "own": {"model": "gpt", "wording": "w"}}
    new = {"sources": "code of today", "own": {"model": "gpt", "wording": "w", "temperature": 0.0}}
    RunStore(tmp_path).open(config(reward="judge", reward_identity=old, report_metric="")).close()
    with pytest.raises(UsageError) as refused:
        RunStore(tmp_path).open(config(reward="judge", reward_identity=new, report_metric=""))
    sentence = str(refused.value)
    assert "was judged by other code of judge than today's" in sentence and "choose another --out" in sentence
    assert "reward temperature: not recorded there, 0 here" in sentence and "use the same settings" not in sentence
    assert "milr report and compare still read the old folder" in sentence
    with pytest.raises(UsageError, match="reward: judge there, wise here.*or use the same settings"):
        RunStore(tmp_path).open(config(reward="wise", reward_identity=new, report_metric=""))
