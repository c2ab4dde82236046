"""Experiments from a file: rows of options over the same prompts and seeds, each a resumable run, then compared."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import tomllib
from collections.abc import Collection, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from milr import catalog
from milr.benchmarks.selection import select_prompts
from milr.inputs.files import MEBIBYTE, read_file
from milr.inputs.json_text import JsonError, check_depth, too_deep
from milr.inputs.text import decode_text
from milr.options import WHERE, Options
from milr.runs.events import Listeners
from milr.runs.files import no_garbage
from milr.types import Prompt, UsageError
from milr.workflows.finished import finished_run
from milr.workflows.prepare import PreparedRun, check_names, load_model, model_key, prepare
from milr.workflows.reward_cache import RewardCache
from milr.workflows.running import run_into
from milr.workflows.searcher import RunPlan

if TYPE_CHECKING:
    from milr.base import Benchmark, UnifiedModel

MAX_BYTES = MEBIBYTE  # of an experiment file
ROW_OPTIONS = {field.name for field in dataclasses.fields(Options)} - {"seed", *WHERE}


class Experiment(BaseModel):
    """The content of an experiment file.

    `rows` map a name to the options in which it differs from `base`; `against` is the name of the row that the others
    are tested against. `prompts` is a local copy of the benchmark's prompt files. `agreement` names rewards that are
    asked about the pictures of the row `pictures_of`, instead of comparing rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    title: str
    benchmark: str
    rows: dict[str, dict[str, Any]] = Field(min_length=1)
    base: dict[str, Any] = {}
    split: str | None = None
    prompts: str | None = None
    seeds: list[int] = Field(default=[0], min_length=1)
    categories: list[str] = []
    limit: int | None = None
    against: str = ""
    about: str = ""
    agreement: list[str] = []
    pictures_of: str = ""

    def load_benchmark(self) -> Benchmark:
        """The benchmark, with the file's split or prompt files."""
        settings = {"split": self.split, "prompts": self.prompts and Path(self.prompts)}
        return catalog.make_benchmark(self.benchmark, **{name: value for name, value in settings.items() if value})

    def select_prompts(self) -> list[Prompt]:
        """The benchmark's prompts that this experiment takes."""
        return select_prompts(self.load_benchmark().prompts(), self.categories, self.limit)

    def options(self, row: str, seed: int) -> Options:
        """A row's options, the base's among them; the report metric is the benchmark's unless they name another."""
        return Options(**{"metric": self.load_benchmark().metric, **self.base, **self.rows[row], "seed": seed})

    def replaced(self, **changes: Any) -> Experiment:
        """The experiment with other fields (None: the file's), the same rows on other prompts.

        Split, prompt files and categories belong to a benchmark: another benchmark does without the file's.
        """
        changes = {name: value for name, value in changes.items() if value is not None}
        if changes.get("benchmark", self.benchmark) != self.benchmark:
            changes = {"split": None, "prompts": None, "categories": [], **changes}
        return self.model_copy(update=changes)


@dataclass(frozen=True)
class ExperimentRun:
    """One row at one seed, and its run folder."""

    row: str
    seed: int
    folder: Path


def read_experiment(path: Path) -> Experiment:
    """The experiment in a TOML file; UsageError, naming the key, where it is not one."""
    text = decode_text(read_file(path, MAX_BYTES), str(path))
    try:
        content = tomllib.loads(text)
        check_depth(content)
    except (JsonError, RecursionError):
        raise UsageError(f"{path} {too_deep()}: see the files in experiments/.") from None
    except ValueError as error:
        raise UsageError(f"{path} is not TOML: {error}.") from error
    for key in content:
        catalog.one_of(f"key of {path.name}", key, sorted(Experiment.model_fields))
    try:
        experiment = Experiment(**content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path}: {where}: {first['msg'].lower()}; see the files in experiments/.") from None
    _check(experiment, path)
    return experiment


def _check(experiment: Experiment, path: Path) -> None:
    """Check what the types do not say: known options, rows and rewards, and a folder for every run."""
    for name, options in {"base": experiment.base, **experiment.rows}.items():
        for key in options:
            catalog.one_of(f"option of {name!r} in {path.name}", key, sorted(ROW_OPTIONS))
    for name in filter(None, (experiment.against, experiment.pictures_of)):
        catalog.one_of(f"row of {path.name}", name, list(experiment.rows))
    for name in experiment.agreement:
        catalog.check_part("rewards", name)
    if experiment.agreement and not experiment.pictures_of:
        raise UsageError(f"{path} asks for agreement and does not say about the pictures_of which row.")
    if len(set(experiment.seeds)) < len(experiment.seeds):
        raise UsageError(f"{path} names a seed twice.")
    folders = [_folder_name(row) for row in experiment.rows]
    if not all(folders) or len(set(folders)) < len(folders):
        raise UsageError(f"{path}: every row needs a name with letters or digits that no other row shares.")
    for row in experiment.rows:
        experiment.options(row, 0)


def experiment_runs(experiment: Experiment, out: Path, only: Sequence[str] = ()) -> list[ExperimentRun]:
    """All rows (or `only` these) at the first seed, then at the second: a run that is cut off has every row."""
    for name in only:
        catalog.one_of("row", name, list(experiment.rows))
    rows = [row for row in experiment.rows if not only or row in only]
    return [ExperimentRun(row, seed, out / _folder_name(row) / f"seed-{seed}")
            for seed in experiment.seeds for row in rows]  # fmt: skip


def _folder_name(row: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", row.lower()).strip("-.")


def unfinished_runs(experiment: Experiment, runs: Sequence[ExperimentRun], **options: Any) -> list[ExperimentRun]:
    """The runs whose folders do not hold all that is asked for, as far as this can be read without their models."""
    benchmark, prompts = experiment.load_benchmark(), experiment.select_prompts()
    return [run for run in runs
            if not finished_run(prompts, dataclasses.replace(experiment.options(run.row, run.seed), **options),
                             run.folder, benchmark.name)]  # fmt: skip


def prepare_runs(experiment: Experiment, runs: Sequence[ExperimentRun], **options: Any
                 ) -> Iterator[tuple[ExperimentRun, PreparedRun]]:  # fmt: skip
    """Each run with all it needs. `options` override those of every row.

    Rows that load the same model share it, and those with the same judges share these.
    """
    benchmark, prompts = experiment.load_benchmark(), experiment.select_prompts()
    models: dict[tuple[Any, ...], UnifiedModel] = {}
    rewards = RewardCache()
    for run in runs:
        row_options = dataclasses.replace(experiment.options(run.row, run.seed), **options)
        check_names(row_options)
        key = model_key(row_options)
        if key not in models:
            models[key] = load_model(row_options)
        yield run, prepare(prompts, row_options, model=models[key], make_reward=rewards, benchmark=benchmark,
                           label=run.row)  # fmt: skip


def queues_of(experiment: Experiment, runs: Sequence[ExperimentRun], **options: Any) -> list[list[ExperimentRun]]:
    """The runs that share a model, together: each of these lists can be one queue of many machines."""
    by_model: dict[tuple[Any, ...], list[ExperimentRun]] = {}
    for run in runs:
        row_options = dataclasses.replace(experiment.options(run.row, run.seed), **options)
        by_model.setdefault(model_key(row_options), []).append(run)
    return list(by_model.values())


@contextmanager
def ready_queue(experiment: Experiment, runs: Sequence[ExperimentRun], **options: Any) -> Iterator[list[RunPlan]]:
    """Runs that share a model, on the Ray cluster that `options` name, which override those of their rows."""
    from milr.workflows.ray_run import ray_queue
    from milr.workflows.ray_worker import RunRequest, describe_benchmark

    prompts, benchmark = tuple(experiment.select_prompts()), describe_benchmark(experiment.load_benchmark())
    requests = [RunRequest(prompts, dataclasses.replace(experiment.options(run.row, run.seed), **options), run.row,
                           benchmark) for run in runs]  # fmt: skip
    with ray_queue(requests) as ready:
        yield list(ready)


async def execute_queue(runs: Sequence[tuple[ExperimentRun, RunPlan]], listeners: Sequence[Listeners]) -> None:
    """Make what the folders of these runs do not hold yet, all at once; where one fails, the others go on to their end.

    The first error is raised then, with a note of its row.
    """
    async with AsyncExitStack() as stack:
        searchers = [await stack.enter_async_context(plan.open_searcher()) for _, plan in runs]
        done = await asyncio.gather(
            *(run_into(run.folder, plan, searcher, listener, is_alone=len(runs) == 1)
              for (run, plan), searcher, listener in zip(runs, searchers, listeners, strict=True)),
            return_exceptions=True)  # fmt: skip
    for (run, _), result in zip(runs, done, strict=True):
        if isinstance(result, BaseException):
            result.add_note(f"in the row {run.row!r}, seed {run.seed}; what the other rows have made is kept.")
            raise result


async def execute_run(run: ExperimentRun, prepared: RunPlan, listeners: Listeners = Listeners(),
                      finished: Collection[str] = ()) -> None:  # fmt: skip
    """Make what the run's folder does not hold yet; `finished` are `finished_samples`, where they are known."""
    async with prepared.open_searcher() as searcher:
        await run_into(run.folder, prepared, searcher, listeners, finished=finished)


def count_finished(run: ExperimentRun, prepared: RunPlan) -> int:
    """How many samples of this very run its folder holds; UsageError where it holds another run's."""
    return len(finished_samples(run, prepared))


@no_garbage()
def finished_samples(run: ExperimentRun, prepared: RunPlan) -> frozenset[str]:
    """The names (`store.name_of`) of the samples of this very run that its folder holds; errors as `count_finished`."""
    from milr.runs.store import RunStore, name_of

    if not (run.folder / "run.json").exists():
        return frozenset()
    store = RunStore(run.folder)
    store.check(prepared.config())
    return frozenset(name_of(job.prompt, job.sample) for job in prepared.jobs if store.finished(job.prompt, job.sample))
