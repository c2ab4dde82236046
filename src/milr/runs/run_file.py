"""run.json: the configuration of a run, and the periods of work on it."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypedDict

import pydantic_core
from pydantic import BaseModel, ConfigDict

from milr.runs.config import JsonMapping, RunConfig
from milr.runs.files import DamagedError, read_bounded
from milr.runs.records import VERSION
from milr.types import UsageError

PACKAGES = ("milr", "torch", "transformers", "tokenizers", "safetensors", "numpy", "pillow")

MAX_RUN_BYTES = 2**26


class WorkPeriod(BaseModel):
    """One entry of run.json's `sittings`: since when and with what software and machine the run was worked on.

    Resuming adds a period only where something other than the time differs from the last one. `in_flight` is the
    largest number of samples in progress at once, `workers` how many models worked on them, `peak_memory` the peak of
    one process in bytes (0: not known).
    """

    model_config = ConfigDict(frozen=True)

    started: str
    versions: dict[str, str]
    machine: dict[str, str]
    in_flight: int = 0
    workers: int = 1
    peak_memory: int = 0


class AboutRun(TypedDict, total=False):
    """Fields of `RunFile` that are known beside the configuration."""

    request: str
    planned: int
    options: Mapping[str, Any]


class RunFile(BaseModel):
    """The content of run.json. `request` is a digest of what was asked for, by which a finished run is found again
    without its model ("": not known); `planned` is how many samples the run is to have (0: each prompt as many);
    `options` are those that it can be repeated with ({}: not known), without those that only say how it is made."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    version: int = VERSION
    digest: str
    config: RunConfig
    sittings: tuple[WorkPeriod, ...] = ()
    request: str = ""
    planned: int = 0
    options: JsonMapping = {}

    @property
    def num_samples(self) -> int:
        """How many samples the run is to have."""
        return self.planned or self.config.prompt_count * self.config.samples


def read_run(folder: Path | str) -> RunFile:
    """The content of `folder`/run.json; UsageError, naming the file, when it is absent; DamagedError when damaged."""
    path = Path(folder) / "run.json"
    try:
        content = read_bounded(path, MAX_RUN_BYTES)
    except OSError as error:
        raise UsageError(f"{folder} holds no run ({path.name}: {error.strerror}): name a folder that --out made."
                         ) from None  # fmt: skip
    try:
        check_version(pydantic_core.from_json(content), path)
        return RunFile.model_validate_json(content)
    except ValueError:
        raise DamagedError(f"{path} is damaged: restore it, or choose another --out.") from None


def check_version(content: Any, path: Path) -> None:
    """UsageError where the JSON `content` of `path` has another format version than VERSION."""
    version = content.get("version") if isinstance(content, Mapping) else None
    if isinstance(version, int) and version != VERSION:
        raise UsageError(f"{path} was written by another version of milr (format {version}): use that version, "
                         "or choose another --out.")  # fmt: skip


def same_environment(first: WorkPeriod, second: WorkPeriod) -> bool:
    """Whether versions, machine, number in flight and workers are the same."""
    keys = [(period.versions, period.machine, period.in_flight, period.workers) for period in (first, second)]
    return keys[0] == keys[1]


def current_work_period(in_flight: int, workers: int = 1) -> WorkPeriod:
    """The period of work that starts now in this process."""
    versions = {"python": platform.python_version(), **{name: _package_version(name) for name in PACKAGES}}
    machine = {"system": platform.platform(), "processor": platform.machine(), "cores": str(os.cpu_count())}
    started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    return WorkPeriod(started=started, versions=versions, machine=machine, in_flight=in_flight,
                      workers=workers)  # fmt: skip


@cache  # a process has loaded its packages once, and a server asks for every search
def _package_version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"
