"""Returned pictures without a score: how many, why, and what to do, said alike on the command line and in Python."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from milr.outside.text import MAX_MESSAGE, clean
from milr.types import MilrWarning, Outcome

FILE_REWARD = ".py:"


def warn(sentences: Iterable[str]) -> None:
    """A `MilrWarning` for each sentence."""
    for sentence in sentences:
        warnings.warn(clean(sentence, MAX_MESSAGE), MilrWarning, stacklevel=4)


def warn_unscored(reasons: Sequence[str | None], *judges: str) -> None:
    """A `MilrWarning` where returned pictures are unscored; the arguments are those of `describe_unscored`."""
    if sentence := describe_unscored(reasons, *judges, again="the same call"):
        warnings.warn(clean(sentence, MAX_MESSAGE), MilrWarning, stacklevel=3)


def reasons_of(outcomes: Iterable[Outcome]) -> list[str | None]:
    """For each outcome why its returned picture has no score by the report metric; None where it has one."""
    scores = [outcome.judged.get(outcome.returned, outcome.score) for outcome in outcomes]
    return [score.reason if score.value is None else None for score in scores]


def reasons_in(folder: Path) -> list[str | None]:
    """`reasons_of` for the samples of a run folder, whose pictures are not read."""
    from milr.runs.store import RunStore

    judgements = [record.result.judged or record.result for record in RunStore(folder).records(tokens=False)]
    return [judgement.reason if judgement.score is None else None for judgement in judgements]


def describe_unscored(reasons: Sequence[str | None], *judges: str, again: str = "the same command") -> str:
    """A sentence on the unscored among all returned pictures, "" where all are scored.

    `judges` are the names of search reward and report metric; `again` is what asks them again.
    """
    unscored = [reason.rstrip(".") for reason in reasons if reason is not None]
    advice = f"{again} asks again"
    if any(FILE_REWARD in judge for judge in judges):
        advice += ", but with another --out where the reward's file was edited, because its code is part of the run"
    if unscored and len(unscored) == len(reasons):
        return f"no picture could be judged ({unscored[0]}): mend that, and {advice}."
    if unscored:
        return f"{len(unscored)} of {len(reasons)} pictures are unscored, the first because {unscored[0]}; {advice}."
    return ""
