"""Known failures of test-time search, recognised from the numbers of a step or record; all thresholds are here."""

from __future__ import annotations

from milr.runs.store import Record, StepRecord

REPETITION = 0.5  # share of repeated n-grams in a visualisation
SURPRISE = {"text": 4.0, "image": 8.0}  # nats per free token; docs/nano.md: how well these separate collapse from not


def failure_marks(step: StepRecord) -> list[str]:
    """The failures of a step: "unscored", "text collapse", "image collapse"; empty when there is none."""
    surprising = {modality for modality, info in step.info.items() if (info.surprise or 0.0) > SURPRISE[modality]}
    marks = ["unscored"] if step.score is None else []
    if step.repetition > REPETITION or "text" in surprising:
        marks.append("text collapse")
    if "image" in surprising:
        marks.append("image collapse")
    return marks


def looks_hacked(record: Record) -> bool:
    """Whether the search reward rose while the report metric fell, a sign of reward hacking."""
    first, result = record.first, record.result
    if first.judged is None or result.judged is None:
        return False
    return _increased(first.score, result.score) and _increased(result.judged.score, first.judged.score)


def _increased(before: float | None, after: float | None) -> bool:
    return before is not None and after is not None and after > before
