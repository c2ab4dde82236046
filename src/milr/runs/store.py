"""A run on disk: run.json says what it is, one record per finished sample says how far it is.

Progress is derived from the records present, never from a counter. Pictures are written first and the record last,
each under a temporary name and then renamed, so a killed process loses at most the samples in flight.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import platform
import re
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from milr.runs.config import RunConfig, differences
from milr.runs.files import FolderLock, remove_leftovers, write_atomically
from milr.runs.records import VERSION, Judgement, Record, StepRecord, to_record
from milr.types import Outcome, Prompt, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Judgement", "Record", "Run", "RunConfig", "RunStore", "Sitting", "StepRecord", "name_of", "read_run",
           "write_atomically"]  # fmt: skip

_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
PACKAGES = ("milr", "torch", "transformers", "tokenizers", "safetensors", "numpy", "pillow")


class Sitting(BaseModel):
    """With what a run was worked on: entries are added when anything but the time changes between two sittings.

    `in_flight` is how many searches ran at once, `peak_memory` the process's most bytes (0: not known).
    """

    model_config = ConfigDict(frozen=True)

    started: str
    versions: dict[str, str]
    machine: dict[str, str]
    in_flight: int = 0
    peak_memory: int = 0


class Run(BaseModel):
    """What run.json holds."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    version: int = VERSION
    digest: str
    config: RunConfig
    sittings: tuple[Sitting, ...] = ()


class RunStore:
    """One run's folder. `open` it to write; `records` and `run` read it at any time, without a lock."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._lock = FolderLock(self.folder)

    def open(self, config: RunConfig, prompts: Sequence[Prompt] = (), *, in_flight: int = 0) -> RunStore:
        """Start or resume the run that `config` describes; UsageError when the folder belongs to another run.

        `prompts` are kept in their order, for layouts in which the order counts.
        """
        try:
            self._make_folders()
            self._lock.acquire()
            self._claim(config, in_flight)
            self._clean()
            self._keep_prompts(prompts)
        except OSError as error:
            self.close()
            raise _unwritable(self.folder, error) from error
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Let another process write here."""
        self._lock.release()

    def __enter__(self) -> RunStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self.close()

    def run(self) -> Run:
        """What this run is; UsageError when the folder holds none."""
        return read_run(self.folder)

    def finished(self, prompt: Prompt, sample: int) -> bool:
        """Whether the sample has a whole record with all its pictures, and no judge gave up on it."""
        record = self.record(prompt, sample)
        return record is not None and not record.unjudged

    def record(self, prompt: Prompt, sample: int) -> Record | None:
        """The sample's record, where it is whole and all its pictures are."""
        record = _read_record(self._record_path(name_of(prompt, sample)))
        whole = record is not None and all(_is_whole(self.folder / step.picture) for step in record.steps)
        return record if whole else None

    def write(self, outcome: Outcome) -> None:
        """Keep a finished sample: its pictures, then its record, which marks it as finished."""
        name = name_of(outcome.prompt, outcome.key.sample)
        try:
            self._record_path(name).unlink(missing_ok=True)
            pictures = self._write_pictures(name, [step.rollout.picture for step in outcome.steps])
            text = to_record(outcome, pictures).model_dump_json(indent=1)
            write_atomically(self._record_path(name), text.encode(), durable=True)
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def records(self) -> list[Record]:
        """All finished samples in order of their names, numbers counted; damaged and half-written ones are left out."""
        paths = sorted((self.folder / "records").glob("*.json"), key=_as_counted)
        return [record for path in paths if (record := _read_record(path)) is not None]

    def _record_path(self, name: str) -> Path:
        return self.folder / "records" / f"{name}.json"

    def _make_folders(self) -> None:
        for name in ("records", "images"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def _claim(self, config: RunConfig, in_flight: int) -> None:
        """Write run.json, or check that the one here is of the same run."""
        path, now = self.folder / "run.json", _sitting(in_flight)
        if not path.exists():
            self._refuse_orphans()
            self._write_run(Run(digest=config.digest, config=config, sittings=(now,)))
            return
        run = self.check(config)
        if not run.sittings or not _alike(run.sittings[-1], now):
            self._write_run(run.model_copy(update={"sittings": (*run.sittings, now)}))

    def check(self, config: RunConfig) -> Run:
        """What run.json says; UsageError, with the differences, where it is of another run than `config`."""
        run = read_run(self.folder)
        if run.digest != config.digest:
            raise _other_run(self.folder, differences(run.config, config))
        return run

    def note_memory(self, peak: int) -> None:
        """Write down the most bytes that this sitting has used, where that is more than is known."""
        run = self.run()
        if run.sittings and run.sittings[-1].peak_memory < peak:
            last = run.sittings[-1].model_copy(update={"peak_memory": peak})
            self._write_run(run.model_copy(update={"sittings": (*run.sittings[:-1], last)}))

    def prompts(self) -> list[Prompt]:
        """The prompts in their order; those of the records where an older version kept no list."""
        try:
            lines = (self.folder / "prompts.jsonl").read_text(encoding="utf-8").split("\n")
        except OSError:
            return list({record.prompt.text: record.prompt for record in self.records()}.values())
        try:
            return [Prompt(**json.loads(line)) for line in lines if line]
        except (ValueError, TypeError):
            raise UsageError(f"{self.folder / 'prompts.jsonl'} is damaged: restore it, or run into another --out."
                             ) from None  # fmt: skip

    def _keep_prompts(self, prompts: Sequence[Prompt]) -> None:
        if prompts and not (self.folder / "prompts.jsonl").exists():
            lines = [json.dumps(dataclasses.asdict(prompt)) for prompt in prompts]
            write_atomically(self.folder / "prompts.jsonl", "\n".join([*lines, ""]).encode(), durable=True)

    def _write_run(self, run: Run) -> None:
        write_atomically(self.folder / "run.json", run.model_dump_json(indent=1).encode(), durable=True)

    def _refuse_orphans(self) -> None:
        if any((self.folder / "records").glob("*.json")):
            raise UsageError(f"{self.folder} has records but no run.json to say of what run: choose another --out.")

    def _clean(self) -> None:
        remove_leftovers(self.folder, "run.json.*")
        remove_leftovers(self.folder, "prompts.jsonl.*")
        for folder in (self.folder / "records", *(self.folder / "images").glob("*/")):
            remove_leftovers(folder)

    def _write_pictures(self, name: str, pictures: list[Image]) -> list[str]:
        folder = self.folder / "images" / name
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{place:03d}.png" for place in range(len(pictures))]
        for path, picture in zip(paths, pictures, strict=True):
            write_atomically(path, _png(picture))
        for stale in set(folder.glob("*.png")) - set(paths):
            stale.unlink()
        return [path.relative_to(self.folder).as_posix() for path in paths]


def name_of(prompt: Prompt, sample: int) -> str:
    """A file name for one sample: readable, safe on every system, and different for different prompts."""
    slug = re.sub(r"[^a-z0-9]+", "-", (prompt.id or prompt.text).lower())[:48].strip("-") or "prompt"
    mark = hashlib.sha256(f"{prompt.id}\0{prompt.text}".encode()).hexdigest()[:8]
    return f"{slug}-{mark}-{sample}"


def read_run(folder: Path | str) -> Run:
    """What the run in `folder` is; UsageError, naming the file, when run.json is absent or damaged."""
    path = Path(folder) / "run.json"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{folder} holds no run ({path.name}: {error.strerror}): name a folder that --out made."
                         ) from None  # fmt: skip
    try:
        _check_version(json.loads(content), path)
        return Run.model_validate_json(content)
    except ValueError:
        raise UsageError(f"{path} is damaged: restore it, or choose another --out.") from None


def _read_record(path: Path) -> Record | None:
    """The record at `path`, or None when there is none or it is damaged."""
    try:
        content = path.read_bytes()
        _check_version(json.loads(content), path)
        return Record.model_validate_json(content)
    except (OSError, ValidationError, ValueError):
        return None


def _check_version(content: Any, path: Path) -> None:
    version = content.get("version") if isinstance(content, Mapping) else None
    if isinstance(version, int) and version != VERSION:
        raise UsageError(f"{path} was written by another version of milr (format {version}): use that version, "
                         "or choose another --out.")  # fmt: skip


def _as_counted(path: Path) -> list[str | int]:
    """Sorts `prompt-2` before `prompt-10`: words and numbers of a name take turns, and compare as what they are."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"([0-9]+)", path.stem))]


def _is_whole(path: Path) -> bool:
    """Whether the PNG at `path` is there up to its last chunk."""
    try:
        with open(path, "rb") as file:
            file.seek(-len(_PNG_END), os.SEEK_END)
            return file.read() == _PNG_END
    except OSError:
        return False


def _png(picture: Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, format="PNG")
    return content.getvalue()


def _alike(last: Sitting, now: Sitting) -> bool:
    return (last.versions, last.machine, last.in_flight) == (now.versions, now.machine, now.in_flight)


def _sitting(in_flight: int) -> Sitting:
    versions = {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}
    machine = {"system": platform.platform(), "processor": platform.machine(), "cores": str(os.cpu_count())}
    started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    return Sitting(started=started, versions=versions, machine=machine, in_flight=in_flight)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def _unwritable(folder: Path, error: OSError) -> UsageError:
    return UsageError(f"{folder} cannot be written ({error.strerror or error}): mend that, or choose another --out.")


def _other_run(folder: Path, told_apart: list[str]) -> UsageError:
    return UsageError(f"{folder} holds a run with other settings ({'; '.join(told_apart)}): choose another --out, "
                      "or use the same settings.")  # fmt: skip
