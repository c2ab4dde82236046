"""Searches as the page reads them: one form for what is made just now and for what lies in a run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from milr.report.changes import count_free, describe_step, word_diff
from milr.report.words import STOPS
from milr.types import Outcome, Score, Step


def step_view(step: Step, before: Sequence[Step]) -> dict[str, Any]:
    """A step without its picture; `before` are the steps of the same sample up to it.

    `words` is the visualisation in pieces: what it shares with the one before, what is new ("ins"), what is gone
    ("del"). `parts` are pairs of a name and a score, in the judge's own order.
    """
    last = before[-1].rollout.visualisation if before else None
    now = step.rollout.visualisation
    words = [[change.kind, change.text] for change in word_diff(last.text, now.text)] if last and now else []
    return {
        "index": step.index, **score_view(step.score), "change": describe_step(step, count_free([*before, step])),
        "visualisation": now.text if now else None, "words": words, "moved": list(step.moved),
    }  # fmt: skip


def score_view(score: Score) -> dict[str, Any]:
    """A score with its parts; `score` None is unscored, and `reason` says why."""
    return {"score": score.value, "parts": [[name, value] for name, value in score.parts.items()],
            "reason": score.reason}  # fmt: skip


def outcome_view(outcome: Outcome) -> dict[str, Any]:
    """A finished sample with all its steps; `judged` is the report metric's score of the returned picture."""
    steps = [step_view(step, outcome.steps[:index]) for index, step in enumerate(outcome.steps)]
    judged = outcome.judged.get(outcome.returned)
    return {**summary_view(outcome), "steps": steps, "judged": score_view(judged) if judged else None}


def summary_view(outcome: Outcome) -> dict[str, Any]:
    """How a sample ended."""
    return {"prompt": outcome.prompt.text, "category": outcome.prompt.category, "sample": outcome.key.sample,
            "seed": outcome.key.seed, "returned": outcome.returned, "best": outcome.best, "stop": outcome.stop,
            "stopped": STOPS[outcome.stop], "cost": asdict(outcome.cost)}  # fmt: skip
