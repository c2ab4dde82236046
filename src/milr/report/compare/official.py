"""The numbers that a benchmark's own tool makes of its judge's answers, where they are no plain means of scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from milr.rules import dpg_bench, geneval2, unigenbench
from milr.rules.official_scores import JudgedPicture, OfficialScore
from milr.runs.config import RunConfig
from milr.runs.records import Record

# By the name of the metric that has the answers among its parts, and of the benchmark that has the metadata.
RULES: Mapping[tuple[str, str], Callable[[Sequence[JudgedPicture]], list[OfficialScore]]] = {
    ("geneval2", "geneval2"): geneval2.official_scores,
    ("dpg-bench", "dpg-bench"): dpg_bench.official_scores,
    ("unigenbench", "unigenbench"): unigenbench.official_scores,
}


def metric_name(config: RunConfig) -> str:
    """The name of what scores a run in a comparison: its report metric, else its search reward."""
    return config.report_metric or config.reward


def judged_picture(config: RunConfig, record: Record) -> JudgedPicture | None:
    """The returned picture of a record as the benchmark's own tool needs it; None: it needs none, or is unscored."""
    if (config.benchmark, metric_name(config)) not in RULES or record.prompt.metadata is None:
        return None
    judged = record.result.judged or record.result
    if judged.score is None:
        return None
    return JudgedPicture(record.prompt.id, record.sample, record.prompt.metadata, judged.parts)


def official_scores(config: RunConfig, pictures: Iterable[JudgedPicture | None]) -> tuple[OfficialScore, ...]:
    """The benchmark's own numbers of the pictures that are scored; () where it has none."""
    scored = [picture for picture in pictures if picture is not None]
    try:
        return tuple(RULES[config.benchmark, metric_name(config)](scored)) if scored else ()
    except (KeyError, ValueError, TypeError, IndexError):  # parts or metadata of an older version, or damaged
        return ()
