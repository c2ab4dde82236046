"""Which judge scored a prompt, where the search reward is one of two judges ("held-out or self")."""

from __future__ import annotations

from milr.types import Prompt


def judge_of(reward: str, prompt: Prompt) -> str:
    """The judge of this prompt where `reward` is "A or B": A for prompts with metadata, else B.

    "" where the reward is a single judge.
    """
    informed, separator, general = reward.partition(" or ")
    if not separator or ".py:" in reward:
        return ""
    return general if prompt.metadata is None else informed
