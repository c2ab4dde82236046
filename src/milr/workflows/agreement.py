"""How well rewards agree with the report metric about pictures that a run has made: accuracy, and ranking of one
prompt's pictures. What a reward said of a sample is kept beside the run, so that asking resumes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from milr import catalog
from milr.engine.studio import Studio
from milr.options import Options
from milr.report.compare.rows import sample_of
from milr.report.statistics import RESAMPLES, SEED, Interval, clustered_bootstrap
from milr.runs.config import RunConfig, digest_of
from milr.runs.store import Record, RunStore, name_of, write_atomically
from milr.types import Score, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

    from milr.base import UnifiedModel

RIGHT = 0.999  # a metric score above this is a right picture
HEADER = ("reward", "scored", "right pictures passed", "wrong pictures passed", "balanced accuracy",
          "pairs ranked as the metric", "seconds a call")  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """One picture: its prompt, the metric's score, the reward's (None: unscored), whether that passes, its seconds."""

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
                    in_flight: int = 32, on_sample: Callable[[], None] = lambda: None) -> list[Judged]:  # fmt: skip
    """The reward's word on every picture of a run whose report metric scored it."""
    store = RunStore(folder)
    config = store.run().config
    if not config.oracle:
        raise UsageError(f"{folder} was searched with {config.reward}, so that its report metric has not seen every "
                         "picture: name pictures whose search reward is the metric.")  # fmt: skip
    reward = catalog.make_reward(name, model, options or Options(seed=config.seed))
    studio, limit = Studio(model, reward), asyncio.Semaphore(in_flight)
    kept = folder / "judgements" / _asked(name, studio, store, model)
    kept.mkdir(parents=True, exist_ok=True)

    async def one(record: Record) -> list[Judged]:
        async with limit:
            path = kept / f"{name_of(record.prompt, record.sample)}.json"
            found = await _judge_sample(studio, folder, config, record, path)
            on_sample()
            return found

    try:
        return [row for rows in await asyncio.gather(*map(one, store.records())) for row in rows]
    finally:
        studio.close()


def _asked(name: str, studio: Studio, store: RunStore, model: UnifiedModel) -> str:
    """A folder name that changes with everything that an answer depends on."""
    about = [name, catalog.reward_identity(name, studio.reward), dict(model.identity()), store.run().digest]
    return f"{re.sub('[^a-z0-9]+', '-', name.lower())[:40]}-{digest_of(about)[:12]}"


async def _judge_sample(studio: Studio, folder: Path, config: RunConfig, record: Record, path: Path) -> list[Judged]:
    if path.exists():
        scores = [Score(**told) for told in json.loads(path.read_text())]
    else:
        pictures = [_opened(folder / step.picture) for step in record.steps]
        async with studio.method():
            scores = [await studio.score(picture, record.prompt) for picture in pictures]
        told = [{"value": score.value, "reason": score.reason, "seconds": score.seconds} for score in scores]
        write_atomically(path, json.dumps(told).encode())
    metrics = [picture.metric for picture in sample_of(folder, config, record).pictures]
    limit = getattr(studio.reward, "threshold_of", lambda category: studio.reward.threshold)(record.prompt.category)
    return [
        Judged(record.prompt.text, metric, score.value, score.value is not None and score.value > limit, score.seconds)
        for metric, score in zip(metrics, scores, strict=True)
        if metric is not None
    ]


def _opened(path: Path) -> Image:
    from PIL import Image as files

    try:
        with files.open(path) as file:
            return file.convert("RGB")
    except (OSError, SyntaxError):  # PIL says SyntaxError of a broken chunk
        raise UsageError(f"{path} is damaged or gone: the same command makes it again once it is deleted.") from None


def agreement(reward: str, rows: Sequence[Judged]) -> Agreement:
    """The numbers; nan where the pictures are all right or all wrong. Intervals are bootstraps by prompt."""
    scored = [row for row in rows if row.score is not None]
    passed = np.array([row.passed for row in scored])
    right = np.array([row.metric > RIGHT for row in scored])
    rates = [float(passed[kind].mean()) if kind.any() else float("nan") for kind in (right, ~right)]
    groups, correct = _ranked(scored)
    return Agreement(
        reward, len(rows), len(scored), rates[0], rates[1], (rates[0] + 1 - rates[1]) / 2,
        _balanced_interval(scored, passed, right), float(np.mean(correct)) if correct else None,
        clustered_bootstrap(groups, correct), float(np.mean([row.seconds for row in rows])) if rows else 0.0,
    )  # fmt: skip


def _ranked(rows: Sequence[Judged]) -> tuple[list[str], list[float]]:
    """For each pair of one prompt's pictures that the metric tells apart: 1 ranked alike, 0.5 a tie, 0 not."""
    members: dict[str, list[Judged]] = {}
    for row in rows:
        members.setdefault(row.group, []).append(row)
    groups, found = [], []
    for group, pictures in members.items():
        for one, other in combinations(pictures, 2):
            if one.metric != other.metric and one.score is not None and other.score is not None:
                groups.append(group)
                found.append(float(0.5 + 0.5 * np.sign((one.metric - other.metric) * (one.score - other.score))))
    return groups, found


def _balanced_interval(rows: Sequence[Judged], passed: np.ndarray, right: np.ndarray) -> Interval | None:
    """95 % percentile bootstrap of the balanced accuracy that draws prompts."""
    places = {group: place for place, group in enumerate(dict.fromkeys(row.group for row in rows))}
    counts = np.zeros((len(places), 4))
    for row, said, true in zip(rows, passed, right, strict=True):
        counts[places[row.group]] += (said and true, true, not said and not true, not true)
    drawn = np.random.default_rng(SEED).integers(0, len(counts), (RESAMPLES, len(counts))) if rows else np.zeros((0, 0))
    hit, rights, spared, wrongs = counts[drawn.astype(int)].sum(1).T
    told = (rights > 0) & (wrongs > 0)
    if not told.any():
        return None
    found = (hit[told] / rights[told] + spared[told] / wrongs[told]) / 2
    return Interval(*(float(edge) for edge in np.quantile(found, [0.025, 0.975])))


def to_json(rows: Sequence[Agreement]) -> str:
    """Every number; what does not exist is null."""
    told = [{name: None if value != value else value for name, value in asdict(row).items()} for row in rows]
    return json.dumps(told, indent=1) + "\n"


def table(rows: Sequence[Agreement]) -> list[list[str]]:
    """Lines under HEADER."""
    return [
        [one.reward, f"{one.scored} of {one.pictures}", _told(one.passed_right, None), _told(one.passed_wrong, None),
         _told(one.balanced_accuracy, one.balanced_interval), _told(one.ranked, one.ranked_interval),
         f"{one.seconds:.4f}"]
        for one in rows
    ]  # fmt: skip


def _told(value: float | None, bounds: Interval | None) -> str:
    if value is None or np.isnan(value):
        return "-"
    return f"{value:.3f}" + (f" [{bounds.low:.3f}, {bounds.high:.3f}]" if bounds else "")
