"""How well rewards agree with the report metric about pictures that a run has made: accuracy, and ranking of one
prompt's pictures. A reward's scores of a sample are stored beside the run, so that asking resumes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from milr import catalog
from milr.engine.studio import Studio
from milr.options import Options
from milr.report.compare.rows import to_sample
from milr.report.statistics import RESAMPLES, SEED, Interval, clustered_bootstrap
from milr.runs.config import RunConfig, digest_of
from milr.runs.files import read_bounded
from milr.runs.records import Value
from milr.runs.store import Record, RunStore, name_of, write_atomically
from milr.types import Score, UsageError
from milr.workflows.stored import open_picture

if TYPE_CHECKING:
    from milr.base import UnifiedModel

VERSION = 1  # of the JSON
MAX_BYTES = 2**26  # of a sample's scores
RIGHT = 0.999  # a picture is right where the metric's score is above this
HEADER = ("reward", "scored", "right pictures passed", "wrong pictures passed", "balanced accuracy",
          "pairs ranked as the metric", "seconds a call")  # fmt: skip


class _StoredScore(BaseModel):
    value: Value | None
    reason: str
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]


_SCORES = TypeAdapter(list[_StoredScore])


@dataclass(frozen=True)
class JudgedPicture:
    """The metric's score, the reward's (None: unscored), whether that is above its threshold, and its seconds.

    `group` is the text of the picture's prompt.
    """

    group: str
    metric: float
    score: float | None
    passed: bool
    seconds: float


@dataclass(frozen=True)
class Agreement:
    """One reward against the metric. Passed: above the threshold of the prompt's category.

    Rankings are over pairs of one prompt's pictures that the metric tells apart.
    """

    reward: str
    pictures: int
    scored: int
    passed_right: float
    passed_wrong: float
    balanced_accuracy: float
    balanced_interval: Interval | None
    ranked: float | None
    ranked_interval: Interval | None
    seconds: float


async def judge_run(folder: Path, name: str, model: UnifiedModel, *, options: Options | None = None,
                    in_flight: int = 32, on_sample: Callable[[], None] = lambda: None
                    ) -> list[JudgedPicture]:  # fmt: skip
    """Ask the reward `name` about every picture of a run whose report metric scored it."""
    store = RunStore(folder)
    config = store.run().config
    if not config.oracle:
        raise UsageError(f"{folder} was searched with {config.reward}, so that its report metric has not seen every "
                         "picture: name pictures whose search reward is the metric.")  # fmt: skip
    reward = catalog.make_reward(name, model, options or Options(seed=config.seed))
    studio, limit = Studio(model, reward), asyncio.Semaphore(in_flight)
    answers = folder / "judgements" / _answers_name(name, studio, store, model)
    answers.mkdir(parents=True, exist_ok=True)

    async def judge_record(record: Record) -> list[JudgedPicture]:
        async with limit:
            path = answers / f"{name_of(record.prompt, record.sample)}.json"
            pictures = await _judge_sample(studio, folder, config, record, path)
            on_sample()
            return pictures

    try:
        samples = await asyncio.gather(*map(judge_record, store.records()))
    finally:
        studio.close()
    return [picture for sample in samples for picture in sample]


def _answers_name(name: str, studio: Studio, store: RunStore, model: UnifiedModel) -> str:
    """A folder name that changes with everything that an answer depends on."""
    about = [name, catalog.reward_identity(name, studio.reward), dict(model.identity()), store.run().digest]
    return f"{re.sub('[^a-z0-9]+', '-', name.lower())[:40]}-{digest_of(about)[:12]}"


async def _judge_sample(studio: Studio, folder: Path, config: RunConfig, record: Record, path: Path
                        ) -> list[JudgedPicture]:  # fmt: skip
    """The scores in the file `path`, or those that the studio's reward gives, which are then written there."""
    scores = read_scores(path, len(record.steps))
    if scores is None:
        pictures = [open_picture(folder, step) for step in record.steps]
        async with studio.method():
            scores = [await studio.score(picture, record.prompt) for picture in pictures]
        content = [{"value": score.value, "reason": score.reason, "seconds": score.seconds} for score in scores]
        write_atomically(path, json.dumps(content).encode())
    metrics = [picture.metric for picture in to_sample(folder, config, record).pictures]
    threshold_of = getattr(studio.reward, "threshold_of", lambda category: studio.reward.threshold)
    threshold = threshold_of(record.prompt.category)
    return [
        JudgedPicture(record.prompt.text, metric, score.value, score.value is not None and score.value > threshold,
                      score.seconds)
        for metric, score in zip(metrics, scores, strict=True)
        if metric is not None
    ]  # fmt: skip


def read_scores(path: Path, count: int) -> list[Score] | None:
    """The `count` scores in the file `path`; None where there is none, or it is damaged: the judge is asked again."""
    try:
        stored = _SCORES.validate_json(read_bounded(path, MAX_BYTES))
    except (OSError, ValidationError):
        return None
    scores = [Score(score.value, reason=score.reason, seconds=score.seconds) for score in stored]
    return scores if len(scores) == count else None


def measure_agreement(reward: str, pictures: Sequence[JudgedPicture]) -> Agreement:
    """The numbers; nan where the pictures are all right, all wrong, or none. Intervals are bootstraps by prompt."""
    scored = [picture for picture in pictures if picture.score is not None]
    passed = np.array([picture.passed for picture in scored], dtype=bool)
    right = np.array([picture.metric > RIGHT for picture in scored], dtype=bool)
    rates = [float(passed[kind].mean()) if kind.any() else float("nan") for kind in (right, ~right)]
    passed_right, passed_wrong = rates
    groups, ranks = _rank_pairs(scored)
    return Agreement(
        reward, len(pictures), len(scored), passed_right, passed_wrong,
        balanced_accuracy=(passed_right + 1 - passed_wrong) / 2,
        balanced_interval=_balanced_interval(scored, passed, right),
        ranked=float(np.mean(ranks)) if ranks else None, ranked_interval=clustered_bootstrap(groups, ranks),
        seconds=float(np.mean([picture.seconds for picture in pictures])) if pictures else 0.0,
    )  # fmt: skip


def _rank_pairs(pictures: Sequence[JudgedPicture]) -> tuple[list[str], list[float]]:
    """For each pair of one prompt's pictures that the metric tells apart: 1 ranked alike, 0.5 a tie, 0 the other way.

    The first list names each pair's prompt.
    """
    by_prompt: dict[str, list[JudgedPicture]] = {}
    for picture in pictures:
        by_prompt.setdefault(picture.group, []).append(picture)
    groups: list[str] = []
    ranks: list[float] = []
    for group, members in by_prompt.items():
        for first, second in combinations(members, 2):
            if first.metric != second.metric and first.score is not None and second.score is not None:
                sign = np.sign((first.metric - second.metric) * (first.score - second.score))
                groups.append(group)
                ranks.append(float(0.5 + 0.5 * sign))
    return groups, ranks


def _balanced_interval(pictures: Sequence[JudgedPicture], passed: np.ndarray, right: np.ndarray) -> Interval | None:
    """95 % percentile bootstrap of the balanced accuracy that draws prompts."""
    if not pictures:
        return None
    indices = {group: index for index, group in enumerate(dict.fromkeys(picture.group for picture in pictures))}
    counts = np.zeros((len(indices), 4))  # right and passed, right, wrong and not passed, wrong
    for picture, passes, is_right in zip(pictures, passed, right, strict=True):
        counts[indices[picture.group]] += (passes and is_right, is_right, not passes and not is_right, not is_right)
    drawn = np.random.default_rng(SEED).integers(0, len(counts), (RESAMPLES, len(counts)))
    right_passed, rights, wrong_failed, wrongs = counts[drawn].sum(1).T
    both = (rights > 0) & (wrongs > 0)
    if not both.any():
        return None
    accuracies = (right_passed[both] / rights[both] + wrong_failed[both] / wrongs[both]) / 2
    return Interval(*(float(edge) for edge in np.quantile(accuracies, [0.025, 0.975])))


def to_json(agreements: Sequence[Agreement]) -> str:
    """Every number; what does not exist is null."""
    rows = [{"version": VERSION} | {name: None if value != value else value for name, value in asdict(row).items()}
            for row in agreements]  # fmt: skip
    return json.dumps(rows, indent=1) + "\n"


def table_rows(agreements: Sequence[Agreement]) -> list[list[str]]:
    """Rows under HEADER."""
    return [
        [row.reward, f"{row.scored} of {row.pictures}", _format(row.passed_right), _format(row.passed_wrong),
         _format(row.balanced_accuracy, row.balanced_interval), _format(row.ranked, row.ranked_interval),
         f"{row.seconds:.4f}"]
        for row in agreements
    ]  # fmt: skip


def _format(value: float | None, interval: Interval | None = None) -> str:
    if value is None or np.isnan(value):
        return "-"
    return f"{value:.3f}" + (f" [{interval.low:.3f}, {interval.high:.3f}]" if interval else "")
