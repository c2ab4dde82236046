"""Experiments from a file: rows of options over the same prompts and seeds, each a resumable run, then compared."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from milr import catalog
from milr.benchmarks.selection import chosen
from milr.engine.studio import Studio
from milr.options import Options
from milr.types import Prompt, UsageError
from milr.workflows.prepare import PreparedRun, load_model, prepare
from milr.workflows.running import Listeners, run_into

if TYPE_CHECKING:
    from milr.base import Benchmark, UnifiedModel

OPTIONS = {one.name for one in dataclasses.fields(Options)} - {"seed"}
WORDING = (
    "model",
    "dtype",
    "device",
    "quantise",
    "role_tags",
    "preset",
    "reasoning_prompt",
)  # what a loaded model depends on


class Experiment(BaseModel):
    """What a file says. `rows` map a name to the options that make it differ from `base`; `against` is a row's name.

    `agreement` names rewards that are asked about the pictures of the row `pictures_of`, instead of comparing rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    title: str
    benchmark: str
    rows: dict[str, dict[str, Any]] = Field(min_length=1)
    base: dict[str, Any] = {}
    split: str | None = None
    seeds: list[int] = Field(default=[0], min_length=1)
    categories: list[str] = []
    limit: int | None = None
    against: str = ""
    about: str = ""
    agreement: list[str] = []
    pictures_of: str = ""

    def benchmark_part(self) -> Benchmark:
        """The benchmark, made."""
        return catalog.make_benchmark(self.benchmark, **({"split": self.split} if self.split else {}))

    def prompts(self) -> list[Prompt]:
        """The benchmark's prompts that this experiment takes."""
        return chosen(self.benchmark_part().prompts(), self.categories, self.limit)

    def options(self, row: str, seed: int) -> Options:
        """A row's options, the base's among them; the report metric is the benchmark's unless they name another."""
        return Options(**{"metric": self.benchmark_part().metric, **self.base, **self.rows[row], "seed": seed})


@dataclass(frozen=True)
class Job:
    """One row at one seed, and its run folder."""

    row: str
    seed: int
    folder: Path


def read(path: Path) -> Experiment:
    """The experiment of a TOML file; UsageError, naming the key, where it is not one."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise UsageError(f"{path} is not TOML: {error}.") from error
    for key in told:
        catalog.one_of(f"key of {path.name}", key, sorted(Experiment.model_fields))
    try:
        made = Experiment(**told)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path}: {where}: {first['msg'].lower()}; see the files in experiments/.") from None
    _check(made, path)
    return made


def _check(made: Experiment, path: Path) -> None:
    """What the types do not say: known options, rows and rewards, and a folder for every run."""
    for name, options in {"base": made.base, **made.rows}.items():
        for key in options:
            catalog.one_of(f"option of {name!r} in {path.name}", key, sorted(OPTIONS))
    for name in filter(None, (made.against, made.pictures_of)):
        catalog.one_of(f"row of {path.name}", name, list(made.rows))
    for name in made.agreement:
        catalog.check_part("rewards", name)
    if made.agreement and not made.pictures_of:
        raise UsageError(f"{path} asks for agreement and does not say about the pictures_of which row.")
    if len(set(made.seeds)) < len(made.seeds):
        raise UsageError(f"{path} names a seed twice.")
    folders = [_slug(row) for row in made.rows]
    if not all(folders) or len(set(folders)) < len(folders):
        raise UsageError(f"{path}: every row needs a name with letters or digits that no other row shares.")
    for row in made.rows:
        made.options(row, 0)


def jobs(experiment: Experiment, out: Path, only: Sequence[str] = ()) -> list[Job]:
    """All rows at the first seed, then at the second: a run that is cut off has every row."""
    for name in only:
        catalog.one_of("row", name, list(experiment.rows))
    rows = [row for row in experiment.rows if not only or row in only]
    return [Job(row, seed, out / _slug(row) / f"seed-{seed}") for seed in experiment.seeds for row in rows]


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")


def prepared_jobs(experiment: Experiment, todo: Sequence[Job], **replaced: Any) -> Iterator[tuple[Job, PreparedRun]]:
    """Each job with all it needs; rows in the same wording share one loaded model. `replaced` overrides options."""
    benchmark, prompts = experiment.benchmark_part(), experiment.prompts()
    models: dict[tuple[Any, ...], UnifiedModel] = {}
    for job in todo:
        options = dataclasses.replace(experiment.options(job.row, job.seed), **replaced)
        wording = tuple(getattr(options, name) for name in WORDING)
        model = models.setdefault(wording, None) or load_model(options)  # type: ignore[arg-type]
        models[wording] = model
        yield job, prepare(prompts, options, model=model, benchmark=benchmark, label=job.row)


def run_job(job: Job, prepared: PreparedRun, on_event: Callable[[Any], None] | None = None,
            on_step: Callable[..., None] | None = None) -> None:  # fmt: skip
    """Make what the job's folder does not hold yet."""

    async def all_of_it() -> None:
        studio = Studio(prepared.model, prepared.reward, searches=prepared.searches, pictures=prepared.pictures)
        try:
            await run_into(job.folder, prepared, studio, Listeners(on_step, on_event))
        finally:
            studio.close()

    asyncio.run(all_of_it())


def finished(job: Job, prepared: PreparedRun) -> int:
    """How many samples of this very run the job's folder holds; UsageError where it holds another run's."""
    from milr.runs.runner import jobs_of
    from milr.runs.store import RunStore

    if not (job.folder / "run.json").exists():
        return 0
    store = RunStore(job.folder)
    store.check(prepared.config())
    return sum(store.finished(one.prompt, one.sample) for one in jobs_of(prepared.prompts, prepared.options.samples))
