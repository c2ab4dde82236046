"""The folder of a run: run.json describes the run, and one record per finished sample shows its progress.

Progress is derived from the records that exist, never from a counter. Pictures are written first and the record last,
each to a temporary file that is synced and then renamed, so a killed process or a power cut loses at most the samples
in flight. `record_files` says what is checked when a record is read.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Unpack

from milr.runs.config import RunConfig, describe_differences, other_code, to_json_value
from milr.runs.files import (
    DamagedError,
    FolderLock,
    make_folder,
    no_garbage,
    write_atomically,
)
from milr.runs.leftovers import clean_run
from milr.runs.prompts_file import read_prompts, write_prompts
from milr.runs.record_files import Damage, PictureChecks, name_of, read_record
from milr.runs.records import Judgement, Record, StepRecord
from milr.runs.run_file import (
    AboutRun,
    RunFile,
    WorkPeriod,
    check_version,
    current_work_period,
    read_run,
    same_environment,
)
from milr.runs.sample_files import SampleFiles, encode_sample, write_sample
from milr.runs.unfinished import FOLDER, UnfinishedSearch, remove_search
from milr.types import Outcome, Prompt, UsageError

__all__ = ["Damage", "Judgement", "Record", "RunConfig", "RunFile", "RunStore", "SharedPart", "StepRecord",
           "StoredRecords", "WorkPeriod", "check_version", "name_of", "read_run", "write_atomically"]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class StoredRecords:
    """The readable records of a run, and what is damaged: other records, and pictures of these."""

    records: list[Record]
    damage: list[Damage]


@dataclasses.dataclass(frozen=True)
class SharedPart:
    """The samples, by `name_of`, that one of several processes writes into a run's folder; `label` names the part."""

    label: str
    samples: frozenset[str]


class RunStore:
    """The folder of one run. Writing needs `open`, which takes a lock; `run` and `records` read without one.

    With a `part`, other processes may write other parts of the same run at the same time.
    """

    def __init__(self, folder: Path | str, *, part: SharedPart | None = None) -> None:
        self.folder = Path(folder)
        self._part = part
        self._lock = FolderLock(self.folder, part.label if part else "")
        self._checks = PictureChecks(self.folder)
        self._digest = ""

    def open(self, config: RunConfig, prompts: Sequence[Prompt] = (), *, in_flight: int = 0,
             workers: int = 1, **about: Unpack[AboutRun]) -> RunStore:  # fmt: skip
        """Start or resume the run that `config` describes; UsageError when the folder belongs to another run.

        `prompts` are written to prompts.jsonl in their order, which the official layouts and the reports follow;
        `about` to run.json.
        """
        try:
            self._make_folders()
            self._lock.acquire()
            with self._lock.alone():
                self._claim(config, prompts, current_work_period(in_flight, workers), about)
                clean_run(self.folder, self._part.samples if self._part else None, self._is_finished)
                self._write_prompts(prompts, config.prompts_digest)
            self._digest = config.digest
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
        record = self.record(prompt, sample, tokens=False)
        return record is not None and not record.unjudged

    def has_record(self, prompt: Prompt, sample: int) -> bool:
        """Whether the sample has a record, complete or damaged, which is not read."""
        return os.path.exists(self._record_path(name_of(prompt, sample)))

    def record(self, prompt: Prompt, sample: int, *, tokens: bool = True) -> Record | None:
        """The sample's record; None unless the record and all its pictures are complete (see `record_files`).

        `tokens` as in `read`.
        """
        path = self._record_path(name_of(prompt, sample))
        try:
            record = read_record(path, tokens=tokens)
        except DamagedError:
            return None
        return record if next(self._checks.damage(record), None) is None else None

    def write(self, outcome: Outcome) -> None:
        """Write a finished sample: first its pictures, then its record, whose existence marks it as finished."""
        self.write_files(encode_sample(outcome, self._digest))

    def write_files(self, files: SampleFiles) -> None:
        """Write a finished sample that is bytes already, as `write` does."""
        try:
            write_sample(self.folder, files)
            remove_search(self.folder, files.name)
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def unfinished(self, prompt: Prompt, sample: int) -> UnfinishedSearch:
        """What the sample's search was answered before it was interrupted."""
        return UnfinishedSearch(self.folder / FOLDER / name_of(prompt, sample))

    @no_garbage()
    def records(self, *, tokens: bool = True) -> list[Record]:
        """The records of all finished samples in natural order of their file names; damaged records are left out.

        `tokens` as in `read`.
        """
        return [record for record in self._read_all(tokens=tokens) if isinstance(record, Record)]

    @no_garbage()
    def read(self, *, tokens: bool = True, checks: PictureChecks | None = None) -> StoredRecords:
        """All records in natural order of their file names, and what is damaged among them and their pictures.

        `tokens` False leaves out `text_ids` and `image_ids`, most of a record's size. `checks` says how much of the
        pictures is checked (None: as `record_files` says).
        """
        stored = StoredRecords([], [])
        checks = checks or PictureChecks(self.folder)
        for record in self._read_all(tokens=tokens):
            if isinstance(record, Damage):
                stored.damage.append(record)
            else:
                stored.damage.extend(checks.damage(record))
                stored.records.append(record)
        return stored

    def records_in_prompt_order(self) -> list[Record]:
        """`in_prompt_order` of all `records`."""
        return self.in_prompt_order(self.records())

    def in_prompt_order(self, records: Sequence[Record]) -> list[Record]:
        """The records sorted by the prompt's position in prompts.jsonl and then by sample."""
        positions = self.prompt_positions()

        def position(record: Record) -> tuple[int, int]:
            return positions.get((record.prompt.id, record.prompt.text), len(positions)), record.sample

        return sorted(records, key=position)

    def prompt_positions(self) -> dict[tuple[str, str], int]:
        """Where each prompt, by id and text, first stands in prompts.jsonl."""
        placed = reversed(list(enumerate(self.prompts())))  # of equal ones the first stays
        return {(prompt.id, prompt.text): index for index, prompt in placed}

    def _read_all(self, *, tokens: bool = False) -> Iterator[Record | Damage]:
        """Each record in natural order of the file names, or why it cannot be read."""
        for path in sorted((self.folder / "records").glob("*.json"), key=_natural_order):
            yield self._read_one(path, tokens=tokens)

    def _read_one(self, path: Path, *, tokens: bool = False) -> Record | Damage:
        try:
            return read_record(path, tokens=tokens)
        except UsageError as error:
            return Damage(path.relative_to(self.folder).as_posix(), str(error))

    def _record_path(self, name: str) -> Path:
        return self.folder / "records" / f"{name}.json"

    def _make_folders(self) -> None:
        for name in ("records", "images", FOLDER):
            if name != FOLDER:  # made where a search takes long
                make_folder(self.folder / name)
            if (self.folder / name).is_symlink():
                raise UsageError(f"{self.folder / name} is a link, and a run is written inside its own folder only: "
                                 "move the whole run to where it points, or choose another --out.")  # fmt: skip

    def _claim(self, config: RunConfig, prompts: Sequence[Prompt], period: WorkPeriod, about: AboutRun) -> None:
        """Write run.json, or check the existing one and add a period of work where the environment differs."""
        path = self.folder / "run.json"
        if not path.exists() or self._is_replaceable():
            self._check_records_are_of(config)
            if path.exists():
                os.replace(path, path.with_name("run.json.damaged"))
            fields: dict[str, Any] = {**about}
            self._write_run(RunFile(digest=config.digest, config=config, sittings=(period,), **fields))
            return
        run = self.check(config, prompts)
        changes: dict[str, Any] = {name: value for name, value in about.items() if getattr(run, name) != value}
        if not run.sittings or not same_environment(run.sittings[-1], period):
            changes["sittings"] = (*run.sittings, period)
        if changes:
            self._write_run(run.model_copy(update=changes))

    def _is_replaceable(self) -> bool:
        """Whether run.json is damaged, and there are records, which say of what run they are."""
        try:
            read_run(self.folder)
        except DamagedError:
            if not any(isinstance(record, Record) for record in self._read_all()):
                raise
            return True
        return False

    def check(self, config: RunConfig, prompts: Sequence[Prompt] = ()) -> RunFile:
        """The content of run.json; UsageError, listing the differences, where it is of another run than `config`."""
        run = read_run(self.folder)
        if run.digest != config.digest:
            differences = describe_differences(run.config, config)
            differences += self._describe_other_metadata(prompts)
            raise _other_run(self.folder, differences, other_code(run.config, config))
        return run

    def _describe_other_metadata(self, prompts: Sequence[Prompt]) -> list[str]:
        """One phrase where the run has the same prompts but for their categories or metadata, else none."""
        try:
            stored = self.prompts()
        except UsageError:  # damaged
            return []
        names = [[(prompt.id, prompt.text) for prompt in each] for each in (stored, prompts)]
        values = [[[prompt.category, to_json_value(prompt.metadata)] for prompt in each] for each in (stored, prompts)]
        if names[0] != names[1] or values[0] == values[1]:
            return []
        return ["the prompts' words are the same, their categories or metadata are not (those that a prompt brings are "
                "kept now; an earlier version replaced them by those of nano's grammar)"]  # fmt: skip

    def replace_work_periods(self, periods: Sequence[WorkPeriod]) -> None:
        """Say that the run was worked on in these periods, as where its samples were made elsewhere."""
        self._write_run(self.run().model_copy(update={"sittings": tuple(periods)}))

    def record_peak_memory(self, peak: int) -> None:
        """Raise the last work period's `peak_memory` to `peak` bytes, where it is lower."""
        with self._lock.alone():
            run = self.run()
            if run.sittings and run.sittings[-1].peak_memory < peak:
                last = run.sittings[-1].model_copy(update={"peak_memory": peak})
                try:
                    self._write_run(run.model_copy(update={"sittings": (*run.sittings[:-1], last)}))
                except OSError as error:
                    raise _unwritable(self.folder, error) from error

    def prompts(self) -> list[Prompt]:
        """The prompts in the order of prompts.jsonl; those of the records where an older version wrote no such file.

        DamagedError where the file is damaged, or holds other prompts than the run's.
        """
        try:
            digest = self.run().config.prompts_digest
        except UsageError:
            digest = ""
        prompts = read_prompts(self.folder, digest)
        if prompts is not None:
            return prompts
        return list({each.prompt.text: each.prompt for each in self.records(tokens=False)}.values())

    def _write_prompts(self, prompts: Sequence[Prompt], digest: str) -> None:
        """Write prompts.jsonl where it is absent or damaged."""
        try:
            absent = read_prompts(self.folder, digest) is None
        except DamagedError:
            absent = True
        if absent and prompts:
            write_prompts(self.folder, prompts)

    def _write_run(self, run: RunFile) -> None:
        write_atomically(self.folder / "run.json", run.model_dump_json(indent=1).encode(), durable=True)

    def _check_records_are_of(self, config: RunConfig) -> None:
        """UsageError unless every record in a folder without run.json says that it is of the run of `config`."""
        for record in self._read_all():
            if isinstance(record, Damage):
                continue  # made again
            if record.run != config.digest:
                why = "are of a run with other settings" if record.run else "do not say of what run they are"
                raise UsageError(f"{self.folder} has no run.json that can be read, and its records {why}: use the "
                                 "settings that made them, restore run.json, or choose another --out.")  # fmt: skip

    def _is_finished(self, name: str) -> bool:
        record = self._read_one(self._record_path(name))
        return isinstance(record, Record) and not record.unjudged


def _natural_order(path: Path) -> list[str | int]:
    """A sort key that puts `prompt-2` before `prompt-10`: text and numbers alternate and compare as such."""
    return [int(part) if index % 2 else part for index, part in enumerate(re.split(r"([0-9]+)", path.stem))]


def _unwritable(folder: Path, error: OSError) -> UsageError:
    return UsageError(f"{folder} cannot be written ({error.strerror or error}): mend that, or choose another --out.")


def _other_run(folder: Path, differences: list[str], judges: list[str]) -> UsageError:
    if judges:
        return UsageError(f"{folder} was judged by other code of {' and '.join(judges)} than today's, whose verdicts "
                          f"may differ ({'; '.join(differences)}): no setting brings them together, so choose another "
                          "--out; milr report and compare still read the old folder.")  # fmt: skip
    return UsageError(f"{folder} holds a run with other settings ({'; '.join(differences)}): choose another --out, "
                      "or use the same settings.")  # fmt: skip
