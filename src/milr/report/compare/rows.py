"""From run folders to the rows of a comparison, and whether they may be compared at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from milr.report.compare.moved import Moved, moved
from milr.report.compare.names import names_of, titled
from milr.runs.config import RunConfig, digest_of
from milr.runs.store import Record, Run, RunStore, Sitting, StepRecord
from milr.types import Cost, UsageError

OnRun = Callable[[int, int], None]
COMMON = "compare what they have in common with --partial"


class SampleKey(NamedTuple):
    """What is compared with what: the same prompt, seed and sample of every row."""

    prompt_id: str
    prompt: str
    seed: int
    sample: int


class Picture(NamedTuple):
    """One picture of a search: its score by the search reward and by the report metric (None: unscored)."""

    search: float | None
    metric: float | None
    cost: Cost
    path: Path


@dataclass(frozen=True)
class Sample:
    """One search, as far as it is compared. `returned` is a position in `pictures`."""

    key: SampleKey
    category: str
    pictures: tuple[Picture, ...]
    returned: int
    cost: Cost
    moved: Moved = Moved()


@dataclass(frozen=True)
class LoadedRun:
    """A run folder, read. `unjudged` counts returned pictures that the report metric never saw."""

    folder: Path
    run: Run
    samples: tuple[Sample, ...]
    unjudged: int

    @property
    def missing(self) -> int:
        """How many samples are not finished."""
        return self.run.config.prompt_count * self.run.config.samples - len(self.samples)


@dataclass(frozen=True)
class Row:
    """Runs that are the same but for the seed. `oracle`: what guided the search is also what scores it here."""

    name: str
    runs: tuple[LoadedRun, ...]

    @property
    def config(self) -> RunConfig:
        """The configuration of the first run; the others differ in the seed."""
        return self.runs[0].run.config

    @property
    def oracle(self) -> bool:
        """Whether the search reward is also the report metric; without a report metric it always is."""
        return self.config.oracle or not self.config.report_metric

    @property
    def title(self) -> str:
        """The name as it is shown, with the oracle label."""
        return titled(self.name, self.oracle)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the runs, sorted."""
        return tuple(sorted(found.run.config.seed for found in self.runs))

    @property
    def sittings(self) -> list[Sitting]:
        """Everything with what the runs were worked on."""
        return [sitting for found in self.runs for sitting in found.run.sittings]

    @property
    def in_flight(self) -> tuple[int, ...]:
        """How many searches ran at once, as far as known."""
        return tuple(sorted({sitting.in_flight for sitting in self.sittings if sitting.in_flight}))

    @property
    def peak_memory(self) -> int:
        """The most bytes of any sitting; 0 where it is not known."""
        return max((sitting.peak_memory for sitting in self.sittings), default=0)

    @property
    def samples(self) -> Iterator[Sample]:
        """All samples of all seeds."""
        return (sample for found in self.runs for sample in found.samples)


def rows_of(folders: Iterable[Path | str], *, on_run: OnRun | None = None) -> list[Row]:
    """The rows that the run folders make, in the order of their first folder; runs that differ in the seed share one.

    UsageError for a folder without a run, no folder at all, or one run named twice. `on_run(done, total)` hears of
    progress: many long runs take some seconds to read.
    """
    paths = [Path(folder) for folder in folders]
    if not paths:
        raise UsageError("there is nothing to compare: name at least one run folder.")
    groups: dict[str, list[LoadedRun]] = {}
    for done, path in enumerate(paths, 1):
        found = load(path)
        groups.setdefault(_but_for_the_seed(found.run.config), []).append(found)
        if on_run:
            on_run(done, len(paths))
    for runs in groups.values():
        _refuse_twins(runs)
    names = names_of([runs[0].run.config for runs in groups.values()])
    return [Row(name, tuple(runs)) for name, runs in zip(names, groups.values(), strict=True)]


def load(folder: Path) -> LoadedRun:
    """A run folder, read and reduced to what is compared; UsageError when it holds none."""
    store = RunStore(folder)
    run, records = store.run(), store.records()
    unjudged = sum(not _is_judged(run.config, record.result) for record in records)
    return LoadedRun(folder, run, tuple(sample_of(folder, run.config, record) for record in records), unjudged)


def _but_for_the_seed(config: RunConfig) -> str:
    return digest_of([config.label, {name: value for name, value in config.identity().items() if name != "seed"}])


def _refuse_twins(runs: Sequence[LoadedRun]) -> None:
    by_seed = sorted(runs, key=lambda found: found.run.config.seed)
    for seed, twins in groupby(by_seed, key=lambda found: found.run.config.seed):
        names = [str(found.folder) for found in twins]
        if len(names) > 1:
            raise UsageError(f"{' and '.join(names)} are the same run (seed {seed}): name it once.")


def sample_of(folder: Path, config: RunConfig, record: Record) -> Sample:
    """A record as it is compared."""
    prompt = record.prompt
    return Sample(
        key=SampleKey(prompt.id, prompt.text, record.seed, record.sample),
        category=prompt.category,
        pictures=tuple(_picture(folder, config, step) for step in record.steps),
        returned=record.returned,
        cost=record.cost,
        moved=moved(record),
    )


def _picture(folder: Path, config: RunConfig, step: StepRecord) -> Picture:
    return Picture(step.score, _metric_score(config, step), step.cost, folder / step.picture)


def _metric_score(config: RunConfig, step: StepRecord) -> float | None:
    """The report metric's score; a picture it was never shown is unscored, and no other judge speaks for it."""
    if step.judged is not None:
        return step.judged.score
    return step.score if _is_judged(config, step) else None


def _is_judged(config: RunConfig, step: StepRecord) -> bool:
    return step.judged is not None or config.oracle or not config.report_metric


def budget_of(row: Row) -> int:
    """How many pictures the row was allowed; where it does not say, the most it drew."""
    settings = row.config.settings
    pictures, steps = settings.get("pictures"), settings.get("steps")
    if isinstance(pictures, int):
        return pictures
    drawn = max((sample.cost.pictures for sample in row.samples), default=1)
    return max(drawn, steps + 1) if isinstance(steps, int) and drawn > 1 else drawn


# Refusals


def refuse(rows: Sequence[Row], *, partial: bool = False) -> None:
    """UsageError, in one sentence with the reason, where the rows cannot be compared.

    `partial` allows unfinished runs and different seeds, for a comparison of what is common.
    """
    first = rows[0]
    for row in rows[1:]:
        for what, remedy in _other_measures(first.config, row.config):
            raise UsageError(f"{first.name} and {row.name} cannot be compared: they have {what}; {remedy}.")
    if not partial:
        _refuse_unfinished(rows)
        _refuse_other_seeds(rows)


def _other_measures(one: RunConfig, other: RunConfig) -> Iterator[tuple[str, str]]:
    """What makes two rows' numbers two things, and what to do about it."""
    if one.benchmark and other.benchmark and one.benchmark != other.benchmark:
        yield f"other benchmarks ({one.benchmark} and {other.benchmark})", "compare runs of one benchmark"
    if one.prompts_digest != other.prompts_digest:
        counts = f"{one.prompt_count} and {other.prompt_count}, digests {one.prompts_digest[:8]} and " \
                 f"{other.prompts_digest[:8]}"  # fmt: skip
        yield f"other prompts ({counts})", "run both on the same prompts"
    if one.samples != other.samples:
        yield f"other numbers of samples ({one.samples} and {other.samples})", "run both with the same --samples"
    if metric_of(one) != metric_of(other):
        yield f"other report metrics ({metric_of(one)} and {metric_of(other)})", "run both with the same --metric"
    mine, theirs = _metric_identity(one), _metric_identity(other)
    if mine and theirs and digest_of(mine) != digest_of(theirs):
        yield f"other versions of the report metric {metric_of(one)}", "run both with the same version of it"


def metric_of(config: RunConfig) -> str:
    """The name of what scores a run here: its report metric, else its search reward."""
    return config.report_metric or config.reward


def _metric_identity(config: RunConfig) -> dict[str, Any]:
    """What is known of the judge; empty where an older run did not write it down."""
    return config.metric_identity or (config.reward_identity if metric_of(config) == config.reward else {})


def _refuse_unfinished(rows: Sequence[Row]) -> None:
    lacking = [found for row in rows for found in row.runs if found.missing > 0]
    if lacking:
        told = ", ".join(f"{found.folder} lacks {found.missing} of {found.missing + len(found.samples)} samples"
                         for found in lacking)  # fmt: skip
        raise UsageError(f"{told}: the same command finishes a run, or {COMMON}.")


def _refuse_other_seeds(rows: Sequence[Row]) -> None:
    first = rows[0]
    for row in rows[1:]:
        if row.seeds != first.seeds:
            raise UsageError(f"{first.name} has {_seeds(first.seeds)} and {row.name} has {_seeds(row.seeds)}: "
                             f"run both with the same seeds, or {COMMON}.")  # fmt: skip


def _seeds(seeds: Sequence[int]) -> str:
    return f"the seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
