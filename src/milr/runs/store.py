"""The folder of a run: run.json describes the run, and one record per finished sample shows its progress.

Progress is derived from the records that exist, never from a counter. Pictures are written first and the record last,
each to a temporary file that is then renamed, so a killed process loses at most the samples in flight.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from milr.runs.config import RunConfig, describe_differences
from milr.runs.files import FolderLock, remove_leftovers, write_atomically
from milr.runs.records import Judgement, Record, StepRecord, to_record
from milr.runs.run_file import RunFile, WorkPeriod, check_version, current_work_period, read_run, same_environment
from milr.runs.unfinished import FOLDER, UnfinishedSearch, remove_search
from milr.types import Outcome, Prompt, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Judgement", "Record", "RunConfig", "RunFile", "RunStore", "StepRecord", "WorkPeriod", "name_of",
           "read_run", "write_atomically"]  # fmt: skip

_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


class RunStore:
    """The folder of one run. Writing needs `open`, which takes a lock; `run` and `records` read without one."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._lock = FolderLock(self.folder)

    def open(self, config: RunConfig, prompts: Sequence[Prompt] = (), *, in_flight: int = 0,
             request: str = "") -> RunStore:  # fmt: skip
        """Start or resume the run that `config` describes; UsageError when the folder belongs to another run.

        `prompts` are written to prompts.jsonl in their order, which the official layouts and the reports follow;
        `request` to run.json (see `RunFile`).
        """
        try:
            self._make_folders()
            self._lock.acquire()
            self._claim(config, in_flight, request)
            self._clean()
            self._write_prompts(prompts)
        except OSError as error:
            self.close()
            raise _unwritable(self.folder, error) from error
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Release the lock, so that another process can write to the folder."""
        self._lock.release()

    def __enter__(self) -> RunStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self.close()

    def run(self) -> RunFile:
        """The content of run.json; UsageError when the folder holds no run."""
        return read_run(self.folder)

    def finished(self, prompt: Prompt, sample: int) -> bool:
        """Whether the sample has a complete record with all its pictures, and no judge gave up on it."""
        record = self.record(prompt, sample)
        return record is not None and not record.unjudged

    def record(self, prompt: Prompt, sample: int) -> Record | None:
        """The sample's record; None unless the record and all its pictures are complete."""
        record = _read_record(self._record_path(name_of(prompt, sample)))
        complete = record is not None and all(_is_complete_png(self.folder / step.picture) for step in record.steps)
        return record if complete else None

    def write(self, outcome: Outcome) -> None:
        """Write a finished sample: first its pictures, then its record, whose existence marks it as finished."""
        name = name_of(outcome.prompt, outcome.key.sample)
        try:
            self._record_path(name).unlink(missing_ok=True)
            pictures = self._write_pictures(name, [step.rollout.picture for step in outcome.steps])
            text = to_record(outcome, pictures).model_dump_json(indent=1)
            write_atomically(self._record_path(name), text.encode(), durable=True)
            remove_search(self.folder, name)
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def unfinished(self, prompt: Prompt, sample: int) -> UnfinishedSearch:
        """What the sample's search was answered before it was interrupted."""
        return UnfinishedSearch(self.folder / FOLDER / name_of(prompt, sample))

    def records(self) -> list[Record]:
        """The records of all finished samples in natural order of their file names; damaged records are left out."""
        paths = sorted((self.folder / "records").glob("*.json"), key=_natural_order)
        return [record for path in paths if (record := _read_record(path)) is not None]

    def records_in_prompt_order(self) -> list[Record]:
        """The records of `records`, sorted by the prompt's position in prompts.jsonl and then by sample."""
        positions: dict[tuple[str, str], int] = {}
        for index, prompt in enumerate(self.prompts()):
            positions.setdefault((prompt.id, prompt.text), index)

        def position(record: Record) -> tuple[int, int]:
            return positions.get((record.prompt.id, record.prompt.text), len(positions)), record.sample

        return sorted(self.records(), key=position)

    def _record_path(self, name: str) -> Path:
        return self.folder / "records" / f"{name}.json"

    def _make_folders(self) -> None:
        for name in ("records", "images"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def _claim(self, config: RunConfig, in_flight: int, request: str) -> None:
        """Write run.json, or check the existing one and add a period of work where the environment differs."""
        path, period = self.folder / "run.json", current_work_period(in_flight)
        if not path.exists():
            self._check_no_records()
            self._write_run(RunFile(digest=config.digest, config=config, sittings=(period,), request=request))
            return
        run = self.check(config)
        changes: dict[str, Any] = {"request": request} if run.request != request else {}
        if not run.sittings or not same_environment(run.sittings[-1], period):
            changes["sittings"] = (*run.sittings, period)
        if changes:
            self._write_run(run.model_copy(update=changes))

    def check(self, config: RunConfig) -> RunFile:
        """The content of run.json; UsageError, listing the differences, where it is of another run than `config`."""
        run = read_run(self.folder)
        if run.digest != config.digest:
            raise _other_run(self.folder, describe_differences(run.config, config))
        return run

    def record_peak_memory(self, peak: int) -> None:
        """Raise the last work period's `peak_memory` to `peak` bytes, where it is lower."""
        run = self.run()
        if run.sittings and run.sittings[-1].peak_memory < peak:
            last = run.sittings[-1].model_copy(update={"peak_memory": peak})
            self._write_run(run.model_copy(update={"sittings": (*run.sittings[:-1], last)}))

    def prompts(self) -> list[Prompt]:
        """The prompts in the order of prompts.jsonl; those of the records where an older version wrote no such file."""
        try:
            lines = (self.folder / "prompts.jsonl").read_text(encoding="utf-8").split("\n")
        except OSError:
            return list({record.prompt.text: record.prompt for record in self.records()}.values())
        try:
            return [Prompt(**json.loads(line)) for line in lines if line]
        except (ValueError, TypeError):
            raise UsageError(f"{self.folder / 'prompts.jsonl'} is damaged: restore it, or run into another --out."
                             ) from None  # fmt: skip

    def _write_prompts(self, prompts: Sequence[Prompt]) -> None:
        if prompts and not (self.folder / "prompts.jsonl").exists():
            lines = [json.dumps(dataclasses.asdict(prompt)) for prompt in prompts]
            write_atomically(self.folder / "prompts.jsonl", "\n".join([*lines, ""]).encode(), durable=True)

    def _write_run(self, run: RunFile) -> None:
        write_atomically(self.folder / "run.json", run.model_dump_json(indent=1).encode(), durable=True)

    def _check_no_records(self) -> None:
        if any((self.folder / "records").glob("*.json")):
            raise UsageError(f"{self.folder} has records but no run.json to say of what run: choose another --out.")

    def _clean(self) -> None:
        remove_leftovers(self.folder, "run.json.*")
        remove_leftovers(self.folder, "prompts.jsonl.*")
        for folder in (self.folder / "records", *(self.folder / "images").glob("*/")):
            remove_leftovers(folder)
        for folder in (self.folder / FOLDER).glob("*/"):  # of a process that was killed just after a record was whole
            record = _read_record(self._record_path(folder.name))
            if record and not record.unjudged:
                remove_search(self.folder, folder.name)

    def _write_pictures(self, name: str, pictures: list[Image]) -> list[str]:
        folder = self.folder / "images" / name
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{index:03d}.png" for index in range(len(pictures))]
        for path, picture in zip(paths, pictures, strict=True):
            write_atomically(path, _png(picture))
        for stale in set(folder.glob("*.png")) - set(paths):
            stale.unlink()
        return [path.relative_to(self.folder).as_posix() for path in paths]


def name_of(prompt: Prompt, sample: int) -> str:
    """The file name of one sample, without an ending: readable, portable, and different for different prompts."""
    slug = re.sub(r"[^a-z0-9]+", "-", (prompt.id or prompt.text).lower())[:48].strip("-") or "prompt"
    digest = hashlib.sha256(f"{prompt.id}\0{prompt.text}".encode()).hexdigest()[:8]
    return f"{slug}-{digest}-{sample}"


def _read_record(path: Path) -> Record | None:
    """The record at `path`, or None when there is none or it is damaged."""
    try:
        content = path.read_bytes()
        check_version(json.loads(content), path)
        return Record.model_validate_json(content)
    except (OSError, ValidationError, ValueError):
        return None


def _natural_order(path: Path) -> list[str | int]:
    """A sort key that puts `prompt-2` before `prompt-10`: text and numbers alternate and compare as such."""
    return [int(part) if index % 2 else part for index, part in enumerate(re.split(r"([0-9]+)", path.stem))]


def _is_complete_png(path: Path) -> bool:
    """Whether the file at `path` ends with the last chunk of a PNG."""
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


def _unwritable(folder: Path, error: OSError) -> UsageError:
    return UsageError(f"{folder} cannot be written ({error.strerror or error}): mend that, or choose another --out.")


def _other_run(folder: Path, differences: list[str]) -> UsageError:
    return UsageError(f"{folder} holds a run with other settings ({'; '.join(differences)}): choose another --out, "
                      "or use the same settings.")  # fmt: skip
