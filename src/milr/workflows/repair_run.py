"""Mends a run's folder as far as the folder itself allows: `milr doctor RUN --repair`.

What is damaged is moved into `damaged/` (then `damaged-2/`, ...), laid out as in the run, so that the command that made
the run makes it again; only left-overs of killed processes are deleted; and what follows from the records is written
anew. What is intact stays as it is, so a second repair finds nothing to do.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from milr.runs.config import prompts_digest
from milr.runs.files import DamagedError, FolderLock, UnreadableError, make_folder, sync_folder
from milr.runs.prompts_file import NAME as PROMPTS
from milr.runs.prompts_file import read_prompts, write_prompts
from milr.runs.record_files import PictureChecks, read_record
from milr.runs.store import RunStore
from milr.runs.unfinished import FOLDER as UNFINISHED
from milr.runs.unfinished import is_damaged, remove_search
from milr.types import UsageError
from milr.workflows.check_run import CheckedRun, check_run, refuse_other_folders

DAMAGED = "damaged"
DERIVED = ("report.html", "report.json", "table.csv")
AGAIN = "the command that made the run writes it again"
_TEMPORARY = re.compile(r"\..+\.([0-9]+)-[0-9]+\.partial")  # as `runs.files` names them, by process and thread
_PLACES = ("*", "records/*", "images/*", "images/*/*", f"{UNFINISHED}/*/*", "judgements/*/*")  # of a run's own files


@dataclass(frozen=True)
class RepairedRun:
    """What a repair did, a sentence each: `mended`, `left` for what it could not mend; `checked` is the result."""

    mended: tuple[str, ...]
    left: tuple[str, ...]
    checked: CheckedRun


def repair_run(folder: Path) -> RepairedRun:
    """Mend the run in `folder`; UsageError where it holds no run, is written by a process, or cannot be written."""
    refuse_other_folders(folder)
    _refuse_links(folder)
    lock = FolderLock(folder)
    try:
        lock.acquire()
        repair = _Repair(folder)
        for mend in (repair.remove_temporaries, repair.set_records_aside, repair.drop_searches, repair.mend_prompts,
                     repair.write_report):  # fmt: skip
            mend()
        return RepairedRun(tuple(repair.mended), tuple(repair.left), check_run(folder))
    except OSError as error:
        raise UsageError(f"{folder} cannot be repaired ({error.strerror or error}): mend that first.") from error
    finally:
        lock.release()


def _refuse_links(folder: Path) -> None:
    """UsageError where a part of the run lies elsewhere, behind a link."""
    for name in ("records", "images", UNFINISHED):
        if (folder / name).is_symlink():
            raise UsageError(f"{folder / name} is a link, and a run is repaired inside its own folder only: repair it "
                             "where it lies, or put the folder there in place of the link.")  # fmt: skip


@dataclass
class _Repair:
    """One repair of a folder whose lock is held."""

    folder: Path
    mended: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    _aside: Path | None = None
    _is_readable: bool = False  # run.json and the prompts

    def remove_temporaries(self) -> None:
        """Delete the temporary files of processes that were killed."""
        for path in list(_files_within(self.folder)):
            name = _TEMPORARY.fullmatch(path.name)
            if name and path.is_file() and not path.is_symlink() and not _is_running(int(name[1])):
                path.unlink()
                self.mended.append(f"{self._name(path)} was left by a process that was killed: removed")

    def set_records_aside(self) -> None:
        """Set aside every sample whose record or one of its pictures is damaged."""
        checks = PictureChecks(self.folder, math.inf)
        for path in sorted((self.folder / "records").glob("*.json")):
            try:
                damages = list(checks.damage(read_record(path)))
                if unreadable := next((damage for damage in damages if damage.unreadable), None):
                    self.left.append(f"{unreadable}: mend that first, it may be whole")
                    continue
                problem = str(damages[0]) if damages else ""
            except UnreadableError as error:
                self.left.append(f"{self._name(path)} {error}: mend that first, it may be whole")
                continue
            except DamagedError as error:
                problem = f"{self._name(path)} {error}"
            except UsageError as error:  # of another version
                self.left.append(str(error).rstrip("."))
                continue
            if problem:
                self._move_aside(path)
                if path.stem.strip("."):  # "." and ".." are no names of samples
                    self._move_aside(self.folder / "images" / path.stem)
                self.mended.append(f"{problem}: its sample was moved to {self._name(self._aside_folder())}")

    def drop_searches(self) -> None:
        """Delete what is kept of searches that have ended, and damaged answers of those that go on."""
        for search in sorted((self.folder / UNFINISHED).glob("*/")):
            if _is_finished(self.folder / "records" / f"{search.name}.json"):
                remove_search(self.folder, search.name)
                self.mended.append(f"{self._name(search)} is of a search that has ended: removed")
                continue
            if search.is_symlink():
                search.unlink()
                self.mended.append(f"{self._name(search)} is a link: removed, and its search begins anew")
                continue
            for path in filter(is_damaged, sorted(search.glob("*.safetensors"))):
                path.unlink()
                self.mended.append(f"{self._name(path)} is damaged: removed, and its search goes on without it")

    def mend_prompts(self) -> None:
        """Write prompts.jsonl anew where the records hold all prompts in the run's order."""
        try:
            digest = RunStore(self.folder).run().config.prompts_digest
        except UsageError:
            self.left.append(f"run.json is damaged or gone: {AGAIN}")
            return
        try:
            read_prompts(self.folder, digest)
        except DamagedError:
            records = RunStore(self.folder).records()
            prompts = list({(each.prompt.id, each.prompt.text): each.prompt for each in records}.values())
            if prompts_digest(prompts) != digest:
                self.left.append(f"{PROMPTS} is damaged, and the records do not hold all prompts in their order: "
                                 f"{AGAIN}")  # fmt: skip
                return
            self._move_aside(self.folder / PROMPTS)
            write_prompts(self.folder, prompts)
            self.mended.append(f"{PROMPTS} is damaged: written again from the records")
        self._is_readable = True

    def write_report(self) -> None:
        """Write the report's files anew where they are not what the records give."""
        from milr.report.html import write_report

        if not (self._is_readable and RunStore(self.folder).records()):
            return
        before = [_content(self.folder / name) for name in DERIVED]
        write_report(self.folder)
        for name, old in zip(DERIVED, before, strict=True):
            if _content(self.folder / name) != old:
                self.mended.append(f"{name} was not what the records give: written anew")

    def _move_aside(self, path: Path) -> None:
        """Move a file, a link or a folder of the run, where there is one, to the same place in the folder aside."""
        if os.path.lexists(path):
            target = self._aside_folder() / path.relative_to(self.folder)
            make_folder(target.parent)
            os.rename(path, target)
            sync_folder(path.parent)
            sync_folder(target.parent)

    def _aside_folder(self) -> Path:
        """The folder that takes what this repair sets aside; new, so that nothing in it is overwritten."""
        if self._aside is None:
            names = (DAMAGED, *(f"{DAMAGED}-{number}" for number in range(2, 10_000)))
            self._aside = next(path for name in names if not os.path.lexists(path := self.folder / name))
            make_folder(self._aside)
        return self._aside

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def _files_within(folder: Path) -> Iterator[Path]:
    """Every file where a run has its own; other runs in this folder have locks of theirs. No link is followed."""
    for place in _PLACES:
        for path in sorted(folder.glob(place)):
            above = list(path.relative_to(folder).parents)[:-1]
            if not any((folder / part).is_symlink() for part in above):
                yield path


def _is_running(process: int) -> bool:
    """Whether a process of this machine has the number; one that reports or exports holds no lock."""
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _is_finished(path: Path) -> bool:
    try:
        return not read_record(path).unjudged
    except UsageError:
        return False


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() and not path.is_symlink() else None
