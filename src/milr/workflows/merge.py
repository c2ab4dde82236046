"""`milr merge`: the parts of one run, made on several machines, joined in one folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from milr.types import Prompt, UsageError

if TYPE_CHECKING:
    from milr.runs.records import Record
    from milr.runs.run_file import RunFile, WorkPeriod
    from milr.runs.sample_files import SampleFiles
    from milr.runs.store import RunStore

OnSample = Callable[[int, int], None]  # samples read, number of all


@dataclass(frozen=True)
class Merged:
    """How many samples a merge copied, how many of the parts' samples the folder held already, and how many of the
    run's `samples` it holds now."""

    copied: int
    existing: int
    finished: int
    samples: int


def merge_runs(out: Path, parts: Sequence[Path], on_sample: OnSample = lambda done, total: None) -> Merged:
    """Copy every sample of the runs in `parts` into the run in `out`, which is made where it is not there.

    Every byte is checked. UsageError where a part is of another configuration than the first, is damaged, or holds
    another result for a sample than another part does. Samples that are there already and equal are left as they are.
    """
    from milr.runs.store import RunStore

    files = _runs_of(out, parts)
    first, periods = files[0], _work_periods(out, files)
    with RunStore(out).open(first.config, _prompts_of(parts), request=_common_request(files),
                            planned=first.planned, options=first.options) as store:  # fmt: skip
        names = [(part, path.stem) for part in parts for path in sorted((part / "records").glob("*.json"))]
        copied = 0
        for done, (part, name) in enumerate(names, 1):
            copied += _copy(store, first.digest, part, name)
            on_sample(done, len(names))
        store.replace_work_periods(periods)
    finished = sum(1 for _ in (out / "records").glob("*.json"))
    return Merged(copied, len(names) - copied, finished, first.num_samples)


def _runs_of(out: Path, parts: Sequence[Path]) -> list[RunFile]:
    """run.json of each part; UsageError where they are not of one run, or `out` is one of them."""
    from milr.runs.config import describe_differences
    from milr.runs.store import read_run

    if not parts:
        raise UsageError("name the folders whose runs are to be joined.")
    if out.resolve() in {part.resolve() for part in parts}:
        raise UsageError(f"{out} is one of the parts: choose another folder for the whole run.")
    files = [read_run(part) for part in parts]
    for part, run in zip(parts, files, strict=True):
        if run.digest != files[0].digest or run.planned != files[0].planned:
            differences = describe_differences(files[0].config, run.config)
            raise UsageError(f"{part} holds another run than {parts[0]} ({'; '.join(differences) or 'other samples'}): "
                             "only parts of one run can be joined.")  # fmt: skip
    return files


def _prompts_of(parts: Sequence[Path]) -> list[Prompt]:
    """The prompts of the run, from the first part that can tell them."""
    from milr.runs.files import DamagedError
    from milr.runs.store import RunStore

    for part in parts[:-1]:
        with suppress(DamagedError):
            return RunStore(part).prompts()
    return RunStore(parts[-1]).prompts()


def _common_request(files: Sequence[RunFile]) -> str:
    """The digest of what was asked for, where all parts say the same."""
    requests = {run.request for run in files}
    return requests.pop() if len(requests) == 1 else ""


def _copy(store: RunStore, run: str, part: Path, name: str) -> bool:
    """Copy a sample of a part, unless its result is there already; whether it was copied."""
    from milr.runs.same_records import first_difference

    record, files = _read(part, name)
    if record.run not in ("", run):
        raise UsageError(f"{part}/records/{name}.json is of a run with other settings than its folder: remove it.")
    existing = store.record(record.prompt, record.sample)
    if existing is not None and not existing.unjudged:
        if not record.unjudged and (difference := first_difference(existing, record)):
            raise UsageError(f"{part} has another result for {name} than {store.folder} ({difference}): the machines "
                             "do not agree, so find out which is wrong (milr rerun) and leave it out.")  # fmt: skip
        return False
    if existing is not None and record.unjudged:
        return False
    store.write_files(files)
    return True


def _read(part: Path, name: str) -> tuple[Record, SampleFiles]:
    from milr.runs.files import DamagedError
    from milr.runs.sample_files import read_sample

    try:
        return read_sample(part, name)
    except DamagedError as error:
        raise UsageError(f"the sample {name} of {part} {str(error).rstrip('.')}: the command that made the part makes "
                         f"it again, and milr doctor {part} --repair sets it aside.") from error  # fmt: skip


def _work_periods(out: Path, files: Sequence[RunFile]) -> list[WorkPeriod]:
    """The work on the parts and on what `out` holds, in the order of time, one entry for each environment."""
    from milr.runs.run_file import read_run, same_environment

    before = read_run(out).sittings if (out / "run.json").exists() else ()
    periods: list[WorkPeriod] = []
    for period in sorted((*before, *(each for run in files for each in run.sittings)), key=lambda each: each.started):
        if not any(same_environment(period, other) for other in periods):
            periods.append(period)
    return periods
