"""The numbers of a run. A missing judgement is not a zero: means are over the scored pictures, with bounds beside them.

An update counts only where latents moved: the steps of `frozen` are no updates.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

from milr.report.changes import moved_latents
from milr.report.csv_cells import to_csv_text
from milr.report.failures import failure_marks, looks_hacked
from milr.report.statistics import Group, Interval, interval_of_mean, interval_of_share
from milr.runs.store import Record, StepRecord
from milr.types import Cost, Prompt

ThresholdOf = Callable[[str], float | None]  # category -> threshold on the score, None: there is none


@dataclass(frozen=True)
class Scores:
    """Scores of `n` pictures. `lowest` and `highest` are the mean with the unscored pictures as 0 and as 1.

    `right` is the share of the scored pictures above the threshold (None without a threshold).
    """

    n: int
    scored: int
    mean: float | None
    lowest: float
    highest: float
    interval: Interval | None
    right: float | None
    right_interval: Interval | None


@dataclass(frozen=True)
class Gain:
    """Returned minus first score, over the `n` samples in which both pictures were scored."""

    n: int
    mean: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Summary:
    """The numbers of a run. `judged_*` are scores by the report metric, where it was asked; the others by the reward.

    `update_steps` counts the steps at which latents moved, `text_changed` is the share of them with a new text,
    `free_tokens` the mean number of free tokens by modality. `judges` splits the summary by judge where the search
    reward is one of two: their scores are not comparable, and the means over both are no result.
    """

    samples: int
    prompts: int
    first: Scores
    returned: Scores
    gain: Gain
    judged_first: Scores | None
    judged_returned: Scores | None
    reached_threshold: float
    stops: Mapping[str, int]
    pictures: float
    update_steps: int
    text_changed: float | None
    free_tokens: Mapping[str, float]
    marks: Mapping[str, int]
    cost: Cost
    categories: Mapping[str, Summary] = field(default_factory=dict)
    judges: Mapping[str, Summary] = field(default_factory=dict)


def summarise(records: Sequence[Record], *, threshold_of: ThresholdOf = lambda category: None,
              judge_of: Callable[[Prompt], str] = lambda prompt: "") -> Summary:  # fmt: skip
    """The numbers of at least one record (else ValueError).

    A score is right where it is strictly above `threshold_of` the prompt's category. `judge_of` names the judge that
    scored a prompt ("": the search reward is a single judge).
    """
    if not records:
        raise ValueError("a summary needs at least one record")
    whole = _summarise(records, threshold_of)

    def by_group(group_of: Callable[[Prompt], str]) -> dict[str, Summary]:
        """The summary of each group of prompts by its name, sorted; {} where no prompt has a group."""
        groups: dict[str, list[Record]] = {}
        for record in records:
            groups.setdefault(group_of(record.prompt), []).append(record)
        if len(groups) == 1:  # its intervals, which take the longest, are at hand
            return {name: whole for name in groups if name}
        return {name or "other": _summarise(group, threshold_of) for name, group in sorted(groups.items())}

    return dataclasses.replace(whole, categories=by_group(lambda prompt: prompt.category), judges=by_group(judge_of))


def _summarise(records: Sequence[Record], threshold_of: ThresholdOf) -> Summary:
    updates = [step for record in records for step in record.steps if moved_latents(step)]
    stops = Counter(str(record.stop) for record in records)
    return Summary(
        samples=len(records),
        prompts=len({_prompt_key(record) for record in records}),
        first=_scores(records, [record.first.score for record in records], threshold_of),
        returned=_scores(records, [record.result.score for record in records], threshold_of),
        gain=_gain(records),
        judged_first=_judged(records, [record.first for record in records]),
        judged_returned=_judged(records, [record.result for record in records]),
        reached_threshold=stops["threshold"] / len(records),
        stops=dict(stops.most_common()),
        pictures=sum(record.cost.pictures for record in records) / len(records),
        update_steps=len(updates),
        text_changed=sum(step.text_changed for step in updates) / len(updates) if updates else None,
        free_tokens=_free_tokens(updates),
        marks=_count_marks(records),
        cost=reduce(add, (record.cost for record in records)),
    )


def _prompt_key(record: Record) -> Group:
    return (record.prompt.id, record.prompt.text)


def _scores(records: Sequence[Record], values: Sequence[float | None], threshold_of: ThresholdOf) -> Scores:
    pairs = [(record, value) for record, value in zip(records, values, strict=True) if value is not None]
    groups, scored = [_prompt_key(record) for record, _ in pairs], [value for _, value in pairs]
    limits = [threshold_of(record.prompt.category) for record, _ in pairs]
    limited = [index for index, limit in enumerate(limits) if limit is not None]
    right = [scored[index] > (limits[index] or 0.0) for index in limited]
    return Scores(
        n=len(values),
        scored=len(scored),
        mean=_mean(scored),
        lowest=sum(scored) / len(values),
        highest=(sum(scored) + len(values) - len(scored)) / len(values),
        interval=interval_of_mean(groups, scored),
        right=_mean(right),
        right_interval=interval_of_share([groups[index] for index in limited], right) if right else None,
    )


def _judged(records: Sequence[Record], steps: Sequence[StepRecord]) -> Scores | None:
    judged = [(record, step.judged.score) for record, step in zip(records, steps, strict=True) if step.judged]
    if not judged:
        return None
    return _scores([record for record, _ in judged], [score for _, score in judged], lambda category: None)


def _gain(records: Sequence[Record]) -> Gain:
    pairs = [
        (_prompt_key(record), record.result.score - record.first.score)
        for record in records
        if record.result.score is not None and record.first.score is not None
    ]
    gains = [gain for _, gain in pairs]
    return Gain(len(gains), _mean(gains), interval_of_mean([group for group, _ in pairs], gains))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _free_tokens(updates: Sequence[StepRecord]) -> dict[str, float]:
    """The mean number of free tokens of each modality, over the steps at which it was updated."""
    counts: dict[str, list[int]] = {}
    for step in updates:
        for modality, info in step.info.items():
            counts.setdefault(modality, []).append(info.free_tokens)
    return {modality: sum(values) / len(values) for modality, values in counts.items()}


def _count_marks(records: Sequence[Record]) -> dict[str, int]:
    counts = Counter(mark for record in records for step in record.steps for mark in failure_marks(step))
    counts["possible reward hacking"] = sum(looks_hacked(record) for record in records)
    return {mark: count for mark, count in counts.items() if count}


def to_json(summary: Summary, **about: Any) -> bytes:
    """The content of report.json: the summary, after the fields `about` of the run."""
    return json.dumps({**about, **dataclasses.asdict(summary)}, indent=1, ensure_ascii=False).encode()


def to_csv(records: Sequence[Record]) -> bytes:
    """The content of table.csv: one row per sample; an empty score is unscored."""
    rows = [_row(record) for record in records]
    return to_csv_text(list(rows[0]), rows).encode()


def _row(record: Record) -> dict[str, Any]:
    first, result = record.first, record.result
    return {
        "prompt_id": record.prompt.id,
        "prompt": record.prompt.text,
        "category": record.prompt.category,
        "seed": record.seed,
        "sample": record.sample,
        "first_score": first.score,
        "returned_score": result.score,
        "best_score": None if record.best is None else record.steps[record.best].score,
        "judged_first": first.judged and first.judged.score,
        "judged_returned": result.judged and result.judged.score,
        "returned_step": result.index,
        "stop": record.stop,
        "text_changed_steps": sum(step.text_changed for step in record.steps),
        **dataclasses.asdict(record.cost),
        "picture": result.picture,
        "reason": result.reason,
    }
