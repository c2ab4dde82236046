"""The pictures of a comparison: every sample with what each row returned, those first on which the rows differ."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from milr.report.compare.records import ComparedSample, ShownPicture
from milr.report.compare.rows import Row, Sample
from milr.report.compare.scores import ROUNDING, AlignedSamples


def compared_samples(rows: Sequence[Row], aligned: AlignedSamples) -> tuple[ComparedSample, ...]:
    """All samples, first those on which the rows differ most, and among equals in the order of the prompts' file."""
    positions = rows[0].runs[0].prompt_positions
    damaged = {(loaded.folder, damage.path) for row in rows for loaded in row.runs for damage in loaded.damage}
    samples = []
    for key, category, *of_rows in zip(aligned.keys, aligned.strata, *aligned.samples, strict=True):
        pictures = tuple(_shown(sample, damaged) for sample in of_rows)
        position = positions.get((key.prompt_id, key.prompt), len(positions))
        samples.append(
            ComparedSample(key.prompt, category, key.seed, key.sample, position, _spread(pictures), pictures)
        )
    return tuple(sorted(samples, key=lambda each: (-each.spread, each.position, each.seed, each.sample)))


def _shown(sample: Sample, damaged: Collection[tuple[Path, str]]) -> ShownPicture:
    picture = sample.pictures[sample.returned]
    file = "" if (picture.folder, picture.file) in damaged else picture.file
    return ShownPicture(picture.metric, picture.folder, file, sample.change)


def _spread(pictures: Sequence[ShownPicture]) -> float:
    scores = [picture.score for picture in pictures if picture.score is not None]
    spread = max(scores) - min(scores) if scores else 0.0
    return spread if spread > ROUNDING else 0.0
