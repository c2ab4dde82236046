"""`milr rerun`: a run repeated from its folder alone, and what is not as it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milr.options import Options
from milr.runs.config import describe_differences
from milr.runs.same_records import first_difference
from milr.runs.store import RunStore, name_of
from milr.types import MilrError, UsageError
from milr.workflows.engines import ready_run

if TYPE_CHECKING:
    from milr.runs.config import RunConfig
    from milr.runs.run_file import RunFile
    from milr.workflows.searcher import RunPlan


@dataclass(frozen=True)
class Repeated:
    """What two runs of the same have in common: `differences` maps a sample's name to the first thing in which its
    results differ, for the samples that differ, in the run's order; `missing` samples are finished in one run only."""

    compared: int
    differences: dict[str, str]
    missing: int

    @property
    def is_identical(self) -> bool:
        """Whether all tokens, scores and pictures that could be compared are the same."""
        return self.compared > 0 and not self.differences


@dataclass(frozen=True)
class StoredBenchmark:
    """A benchmark as far as a run's configuration knows it; its prompts are in the run's folder."""

    name: str


@contextmanager
def ready_rerun(folder: Path, **changes: Any) -> Iterator[RunPlan]:
    """The run in `folder` made ready again, from its own options and prompts.

    `changes` are options that say how it is made, and nothing of what it is. UsageError where it cannot be repeated, or
    would be another run today.
    """
    store = RunStore(folder)
    file = store.run()
    options = _options_of(folder, file, changes)
    benchmark: Any = StoredBenchmark(file.config.benchmark) if file.config.benchmark else None
    with ready_run(store.prompts(), options, benchmark=benchmark, label=file.config.label) as run:
        _refuse_other(folder, file.config, run.config())
        yield run


def _options_of(folder: Path, file: RunFile, changes: dict[str, Any]) -> Options:
    if file.config.command != "generate":
        raise UsageError(f"{folder} holds scores of pictures that milr did not draw: milr score judges them again.")
    if not file.options:
        raise UsageError(f"{folder} does not say with which options it was made, as runs of earlier versions: give the "
                         "command that made it another --out, and compare.")  # fmt: skip
    known = {name: value for name, value in file.options.items() if name in Options.__dataclass_fields__}
    try:
        return dataclasses.replace(Options(**known), **changes)  # type: ignore[arg-type]
    except MilrError as error:
        raise UsageError(f"the options in {folder} are none of this version ({str(error).rstrip('.')}).") from error


def _refuse_other(folder: Path, there: RunConfig, here: RunConfig) -> None:
    if there.digest != here.digest:
        differences = "; ".join(describe_differences(there, here))
        raise UsageError(f"{folder} cannot be repeated: here and now it would be another run ({differences}).")


def compare_repeated(folder: Path, again: Path, run: RunPlan) -> Repeated:
    """Compare each sample of the plan `run` in two folders: tokens, scores, and the bytes of pictures."""
    stores, differences, compared = (RunStore(folder), RunStore(again)), {}, 0
    for job in run.jobs:
        records = [store.record(job.prompt, job.sample) for store in stores]
        if records[0] is None or records[1] is None:
            continue
        compared += 1
        if difference := first_difference(records[0], records[1]):
            differences[name_of(job.prompt, job.sample)] = difference
    return Repeated(compared, differences, len(run.jobs) - compared)
