"""From run folders to the rows of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from milr.report.changes import describe_result
from milr.report.compare.official import judged_picture, metric_name
from milr.report.compare.row_names import row_names, title_of
from milr.report.compare.updates import UpdateCounts, count_updates
from milr.report.judges import judge_of
from milr.rules.official_scores import JudgedPicture
from milr.runs.config import RunConfig, digest_of
from milr.runs.store import Damage, Record, RunFile, RunStore, StepRecord, StoredRecords, WorkPeriod
from milr.types import Cost, UsageError

OnProgress = Callable[[int, int], None]  # runs read, number of all runs


class SampleKey(NamedTuple):
    """Identifies a sample in every row: the same prompt, seed and sample number."""

    prompt_id: str
    prompt: str
    seed: int
    sample: int


class ScoredPicture(NamedTuple):
    """One picture of a sample: its score by the search reward and by the report metric (None: unscored).

    `folder` is the run's, `file` the picture in it, and `chosen` that of `StepRecord`.
    """

    search: float | None
    metric: float | None
    cost: Cost
    folder: Path
    file: str
    chosen: int | None = None

    @property
    def path(self) -> Path:
        """Where the picture is."""
        return self.folder / self.file


@dataclass(frozen=True)
class Sample:
    """What is compared of one sample. `returned` is a position in `pictures`.

    `change` says what the updates changed. `judge` is the judge of the prompt where the metric is one of two. `judged`
    is the returned picture for the benchmark's own numbers (None: it is unscored, or there are none).
    """

    key: SampleKey
    category: str
    pictures: tuple[ScoredPicture, ...]
    returned: int
    cost: Cost
    updates: UpdateCounts = UpdateCounts()
    change: str = ""
    judge: str = ""
    judged: JudgedPicture | None = None


@dataclass(frozen=True)
class LoadedRun:
    """A run that was read from its folder. `unjudged` counts returned pictures that the report metric never saw.

    `damage` names records that were left out, and pictures of others, because they are damaged.
    """

    folder: Path
    run: RunFile
    samples: tuple[Sample, ...]
    unjudged: int
    damage: tuple[Damage, ...] = ()

    @property
    def prompt_positions(self) -> dict[tuple[str, str], int]:
        """The position of each prompt, by id and text, in the run's prompts.jsonl; empty where that is damaged."""
        try:
            return RunStore(self.folder).prompt_positions()
        except UsageError:
            return {}

    @property
    def missing(self) -> int:
        """How many samples are not finished."""
        return self.run.num_samples - len(self.samples)


@dataclass(frozen=True)
class Row:
    """One or more runs that differ in the seed alone."""

    name: str
    runs: tuple[LoadedRun, ...]

    @property
    def config(self) -> RunConfig:
        """The configuration of the first run; those of the others differ in the seed."""
        return self.runs[0].run.config

    @property
    def oracle(self) -> bool:
        """Whether the search reward is also the report metric, as it always is without a report metric."""
        return self.config.oracle or not self.config.report_metric

    @property
    def title(self) -> str:
        """The name as tables show it, with the oracle label."""
        return title_of(self.name, self.oracle)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the runs, sorted."""
        return tuple(sorted(loaded.run.config.seed for loaded in self.runs))

    @property
    def work_periods(self) -> list[WorkPeriod]:
        """The periods of work on all runs."""
        return [period for loaded in self.runs for period in loaded.run.sittings]

    @property
    def in_flight(self) -> tuple[int, ...]:
        """How many samples were in progress at once, as far as known."""
        return tuple(sorted({period.in_flight for period in self.work_periods if period.in_flight}))

    @property
    def peak_memory(self) -> int:
        """The largest peak of any period of work in bytes; 0 where none is known."""
        return max((period.peak_memory for period in self.work_periods), default=0)

    @property
    def samples(self) -> Iterator[Sample]:
        """All samples of all seeds."""
        return (sample for loaded in self.runs for sample in loaded.samples)


def load_rows(folders: Iterable[Path | str], *, on_progress: OnProgress | None = None,
              stored: Mapping[Path, StoredRecords] | None = None) -> list[Row]:  # fmt: skip
    """The rows of the run folders, in the order of their first folder; runs that differ in the seed alone share one.

    UsageError where there is no folder, a folder holds no run, or one run is named twice. `on_progress(done, total)` is
    called after each folder: many long runs take some seconds to read. `stored` are records that were read already,
    by their folder.
    """
    paths = [Path(folder) for folder in folders]
    if not paths:
        raise UsageError("there is nothing to compare: name at least one run folder.")
    groups: dict[str, list[LoadedRun]] = {}
    for done, path in enumerate(paths, 1):
        loaded = load_run(path, (stored or {}).get(path))
        groups.setdefault(_digest_without_seed(loaded.run.config), []).append(loaded)
        if on_progress:
            on_progress(done, len(paths))
    for runs in groups.values():
        _check_seeds_differ(runs)
    names = row_names([runs[0].run.config for runs in groups.values()])
    return [Row(name, tuple(runs)) for name, runs in zip(names, groups.values(), strict=True)]


def load_run(folder: Path, stored: StoredRecords | None = None) -> LoadedRun:
    """The run in `folder`, reduced to what is compared; UsageError when there is none. `stored` as in `load_rows`."""
    store = RunStore(folder)
    run, stored = store.run(), stored or store.read(tokens=False)
    records = stored.records
    unjudged = sum(not _is_judged(run.config, record.result) for record in records)
    return LoadedRun(folder, run, tuple(to_sample(folder, run.config, record) for record in records), unjudged,
                     tuple(stored.damage))  # fmt: skip


def _digest_without_seed(config: RunConfig) -> str:
    return digest_of([config.label, {name: value for name, value in config.identity().items() if name != "seed"}])


def _check_seeds_differ(runs: Sequence[LoadedRun]) -> None:
    """UsageError where two runs of a row have the same seed."""
    by_seed = sorted(runs, key=lambda loaded: loaded.run.config.seed)
    for seed, same_seed in groupby(by_seed, key=lambda loaded: loaded.run.config.seed):
        folders = [str(loaded.folder) for loaded in same_seed]
        if len(folders) > 1:
            raise UsageError(f"{' and '.join(folders)} are the same run (seed {seed}): name it once.")


def to_sample(folder: Path, config: RunConfig, record: Record) -> Sample:
    """What is compared of a record."""
    prompt = record.prompt
    return Sample(
        key=SampleKey(prompt.id, prompt.text, record.seed, record.sample),
        category=prompt.category,
        pictures=tuple(_to_picture(folder, config, step) for step in record.steps),
        returned=record.returned,
        cost=record.cost,
        updates=count_updates(record),
        change="" if config.command == "score" else describe_result(record.steps, record.returned),
        judge=judge_of(metric_name(config), prompt),
        judged=judged_picture(config, record),
    )


def _to_picture(folder: Path, config: RunConfig, step: StepRecord) -> ScoredPicture:
    return ScoredPicture(step.score, _metric_score(config, step), step.cost, folder, step.picture, step.chosen)


def _metric_score(config: RunConfig, step: StepRecord) -> float | None:
    """The report metric's score. A picture that it never saw is unscored: the search reward does not stand in."""
    if step.judged is not None:
        return step.judged.score
    return step.score if _is_judged(config, step) else None


def _is_judged(config: RunConfig, step: StepRecord) -> bool:
    return step.judged is not None or config.oracle or not config.report_metric


def picture_budget(row: Row) -> int:
    """How many pictures the row was allowed per sample; where its settings do not say, the most that it drew."""
    settings = row.config.settings
    pictures, steps = settings.get("pictures"), settings.get("steps")
    if isinstance(pictures, int):
        return pictures
    drawn = max((sample.cost.pictures for sample in row.samples), default=1)
    return max(drawn, steps + 1) if isinstance(steps, int) and drawn > 1 else drawn
