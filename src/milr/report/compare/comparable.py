"""Whether rows may be compared: same benchmark, prompts, samples, metric, and seeds, and all of them finished."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from milr.report.compare.official import metric_name
from milr.report.compare.rows import Row
from milr.runs.config import RunConfig, digest_of
from milr.types import UsageError

PARTIAL = "compare what they have in common with --partial"


def check_comparable(rows: Sequence[Row], *, partial: bool = False) -> None:
    """UsageError, in one sentence with the reason, where the rows cannot be compared.

    `partial` allows unfinished runs and different seeds, for a comparison of the samples that all rows have.
    """
    first = rows[0]
    for row in rows[1:]:
        for difference, remedy in _incompatibilities(first.config, row.config):
            raise UsageError(f"{first.name} and {row.name} cannot be compared: they have {difference}; {remedy}.")
    if not partial:
        _check_finished(rows)
        _check_same_seeds(rows)


def _incompatibilities(first: RunConfig, second: RunConfig) -> Iterator[tuple[str, str]]:
    """Every reason why the scores of two configurations are not comparable, with the remedy."""
    if first.benchmark and second.benchmark and first.benchmark != second.benchmark:
        yield f"other benchmarks ({first.benchmark} and {second.benchmark})", "compare runs of one benchmark"
    if first.prompts_digest != second.prompts_digest:
        counts = f"{first.prompt_count} and {second.prompt_count}, digests {first.prompts_digest[:8]} and " \
                 f"{second.prompts_digest[:8]}"  # fmt: skip
        yield f"other prompts ({counts})", "run both on the same prompts"
    if first.samples != second.samples:
        yield f"other numbers of samples ({first.samples} and {second.samples})", "run both with the same --samples"
    names = metric_name(first), metric_name(second)
    if names[0] != names[1]:
        yield f"other report metrics ({names[0]} and {names[1]})", "run both with the same --metric"
    identities = _metric_identity(first), _metric_identity(second)
    if all(identities) and digest_of(identities[0]) != digest_of(identities[1]):
        yield f"other versions of the report metric {names[0]}", "run both with the same version of it"


def _metric_identity(config: RunConfig) -> dict[str, Any]:
    """The identity of the judge; {} where an older run did not write it down."""
    return config.metric_identity or (config.reward_identity if metric_name(config) == config.reward else {})


def _check_finished(rows: Sequence[Row]) -> None:
    unfinished = [loaded for row in rows for loaded in row.runs if loaded.missing > 0]
    if unfinished:
        missing = ", ".join(
            f"{loaded.folder} lacks {loaded.missing} of {loaded.missing + len(loaded.samples)} samples"
            f"{' (damaged: ' + str(loaded.damage[0]) + ')' if loaded.damage else ''}"
            for loaded in unfinished
        )
        raise UsageError(f"{missing}: the same command finishes a run, or {PARTIAL}.")


def _check_same_seeds(rows: Sequence[Row]) -> None:
    first = rows[0]
    for row in rows[1:]:
        if row.seeds != first.seeds:
            raise UsageError(f"{first.name} has {_seeds(first.seeds)} and {row.name} has {_seeds(row.seeds)}: "
                             f"run both with the same seeds, or {PARTIAL}.")  # fmt: skip


def _seeds(seeds: Sequence[int]) -> str:
    return f"the seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
