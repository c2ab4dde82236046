"""The identity of a reward's code: recorded, so that moved files and new names do not end stored runs."""

from __future__ import annotations

import json

import pytest

import reward_code
from milr.catalog import identity

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
