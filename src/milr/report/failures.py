"""The failures that test-time search is known for, read off the numbers of a step; thresholds in one place."""

from __future__ import annotations

from milr.runs.store import Record, StepRecord

TEXT_COLLAPSE = 0.5  # share of repeated words in a visualisation
FAR = 1.0  # rms distance of the free latents from where they began; a normed latent's entries are about 1


def marks(step: StepRecord) -> list[str]:
    """What is wrong with a step, in words; empty when nothing is."""
    found = []
    if step.score is None:
        found.append("unscored")
    if step.repetition > TEXT_COLLAPSE:
        found.append("text collapse")
    far = [modality for modality, info in step.info.items() if info.distance > FAR]
    return found + [f"{modality} latents far away" for modality in far]


def looks_hacked(record: Record) -> bool:
    """The search reward rose while the report metric fell: the search may have fooled its reward."""
    first, result = record.first, record.result
    if first.judged is None or result.judged is None:
        return False
    return _rose(first.score, result.score) and _rose(result.judged.score, first.judged.score)


def _rose(before: float | None, after: float | None) -> bool:
    return before is not None and after is not None and after > before
