"""The failures that test-time search is known for, read off the numbers of a step; thresholds in one place."""

from __future__ import annotations

from milr.runs.store import Record, StepRecord

REPETITION = 0.5  # share of repeated n-grams in a visualisation
SURPRISE = {"text": 4.0, "image": 8.0}  # nats per free token; docs/nano.md says how well these part failed from sound


def marks(step: StepRecord) -> list[str]:
    """What is wrong with a step, in words; empty when nothing is."""
    found = []
    if step.score is None:
        found.append("unscored")
    strange = {modality for modality, info in step.info.items() if (info.surprise or 0.0) > SURPRISE[modality]}
    if step.repetition > REPETITION or "text" in strange:
        found.append("text collapse")
    return found + (["image collapse"] if "image" in strange else [])


def looks_hacked(record: Record) -> bool:
    """The search reward rose while the report metric fell: the search may have fooled its reward."""
    first, result = record.first, record.result
    if first.judged is None or result.judged is None:
        return False
    return _rose(first.score, result.score) and _rose(result.judged.score, first.judged.score)


def _rose(before: float | None, after: float | None) -> bool:
    return before is not None and after is not None and after > before
