"""Every byte of a run's folder, checked: `milr doctor RUN`."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from milr.types import MilrError


@dataclass(frozen=True)
class CheckedRun:
    """What a run's folder holds: complete samples, and one sentence for each thing that is damaged.

    `samples` is the number of samples that the run is to have; 0 where run.json does not say.
    """

    complete: int
    samples: int
    damage: tuple[str, ...]


def check_run(folder: Path) -> CheckedRun:
    """Read every record and every picture of the run in `folder`, changing nothing; UsageError where there is none."""
    from milr.runs.record_files import PictureChecks
    from milr.runs.store import RunStore

    refuse_other_folders(folder)
    store, damage, samples = RunStore(folder), [], 0
    try:
        samples = store.run().num_samples
        store.prompts()
    except MilrError as error:
        damage.append(str(error).rstrip("."))
    stored = store.read(tokens=False, checks=PictureChecks(folder, math.inf))
    damaged_folders = {Path(each.path).parent.name for each in stored.damage if each.path.startswith("images")}
    complete = sum(Path(record.first.picture).parent.name not in damaged_folders for record in stored.records)
    return CheckedRun(complete, samples, (*damage, *map(str, stored.damage)))


def refuse_other_folders(folder: Path) -> None:
    """UsageError where `folder` holds neither records nor a run.json of this version, damaged or not."""
    from milr.runs.files import DamagedError
    from milr.runs.store import read_run

    if os.path.exists(folder / "run.json") or not os.path.isdir(folder / "records"):
        with suppress(DamagedError):
            read_run(folder)
