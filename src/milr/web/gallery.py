"""Past runs, read from their folders: a list, one run, a picture, a folder as an archive.

Clients name a run by the name of its folder, which is checked against what such names look like, and pictures by
numbers; what is read lies inside the folder of all runs, and is no link.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from milr.report.html import write_report
from milr.runs.files import LOCK, PARTIAL, read_bounded
from milr.runs.record_files import name_of, read_picture, read_record
from milr.runs.records import Record
from milr.runs.store import RunStore, read_run
from milr.types import MilrError
from milr.web.errors import ApiError
from milr.web.searches import REQUEST_FILE
from milr.web.views import outcome_view
from milr.workflows.stored import load_run

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MAX_REQUEST = 2**20  # bytes of a request file
PAGE = 24  # runs of one list
SHOWN = 40  # samples of a run that are shown


class Gallery:
    """The runs in the folder `out`; `is_going` says whether a search is still at work on one."""

    def __init__(self, out: Path, is_going: Callable[[str], bool]) -> None:
        self.out, self._is_going = out, is_going

    def folder(self, run: str) -> Path:
        """The folder of a run; ApiError 404 where there is none of that name."""
        folder = self.out / run
        if not _NAME.fullmatch(run) or folder.is_symlink() or not (folder / "run.json").is_file():
            raise ApiError("there is no such run.", status=404, code="not_found")
        return folder

    def list(self, before: str = "", query: str = "") -> dict[str, Any]:
        """The newest PAGE runs whose names come before `before` and whose prompts hold `query`; `next` goes on."""
        names = sorted((path.name for path in self.out.glob("*/run.json") for path in [path.parent]), reverse=True)
        runs: list[dict[str, Any]] = []
        for name in names:
            if len(runs) == PAGE:
                return {"runs": runs, "next": runs[-1]["run"]}
            line = self._line(name) if (not before or name < before) else None
            if line and query.lower() in line["prompt"].lower():
                runs.append(line)
        return {"runs": runs, "next": None}

    def run(self, run: str) -> dict[str, Any]:
        """Everything about a run but its pictures."""
        folder = self.folder(run)
        stored = load_run(folder)
        config, request = stored.config, self.request(run)
        outcomes = stored.outcomes
        samples = [{"name": name_of(outcome.prompt, outcome.key.sample), **outcome_view(outcome)}
                   for outcome in outcomes[:SHOWN]]  # fmt: skip
        planned = config.prompt_count * config.samples
        return {
            "run": run, "state": self._state(run, len(outcomes), planned), "planned": planned, "model": config.model,
            "method": config.method, "reward": config.reward, "metric": config.report_metric, "oracle": config.oracle,
            "threshold": config.threshold_of(""), "seed": config.seed, "notes": list(config.notes),
            "prompt": self._prompt(folder, request), "request": request, "finished": len(outcomes), "samples": samples,
        }  # fmt: skip

    def request(self, run: str) -> dict[str, Any] | None:
        """What a client asked for; None for a run that was not made here, or whose file is damaged."""
        try:
            content = json.loads(read_bounded(self.folder(run) / REQUEST_FILE, MAX_REQUEST))
            return {name: content[name] for name in ("prompt", "samples", "options")}
        except (OSError, ValueError, KeyError, TypeError, RecursionError, MilrError):
            return None

    def picture(self, run: str, name: str, step: int) -> bytes:
        """The PNG of a step of the sample whose record has this name; ApiError 404 where there is none."""
        folder = self.folder(run)
        try:
            if not _NAME.fullmatch(name):
                raise IndexError
            return read_picture(folder, read_record(folder / "records" / f"{name}.json").steps[step])
        except (IndexError, MilrError):
            raise ApiError("there is no such picture.", status=404, code="not_found") from None

    def archive(self, run: str) -> IO[bytes]:
        """The folder of a run as a zip file, with its report."""
        folder = self.folder(run)
        if not self._is_going(run):
            write_report(folder)
        archive = tempfile.SpooledTemporaryFile(2**24)  # noqa: SIM115  # whoever sends it closes it
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as content:
            for path in _files(folder):
                with suppress(FileNotFoundError):  # of a search that goes on
                    content.write(path, Path(run) / path.relative_to(folder))
        archive.seek(0)
        return archive

    def _line(self, run: str) -> dict[str, Any] | None:
        """A run in a few words; None for a folder that cannot be read."""
        try:
            folder = self.folder(run)
            config = read_run(folder).config
            first, count = _first_record(folder)
        except (ApiError, MilrError):
            return None
        prompt = first.prompt.text if first else self._prompt(folder, self.request(run))
        return {"run": run, "prompt": prompt, "method": config.method, "reward": config.reward, "seed": config.seed,
                "state": self._state(run, count, config.prompt_count * config.samples), "samples": count,
                "score": first.result.score if first else None, "returned": first.returned if first else None,
                "name": name_of(first.prompt, first.sample) if first else None,
                "pictures": len(first.steps) if first else 0}  # fmt: skip

    def _state(self, run: str, finished: int, planned: int) -> str:
        return "running" if self._is_going(run) else "finished" if finished >= planned else "interrupted"

    @staticmethod
    def _prompt(folder: Path, request: dict[str, Any] | None) -> str:
        if request:
            return str(request["prompt"])
        prompts = RunStore(folder).prompts()
        return prompts[0].text if prompts else ""


def _first_record(folder: Path) -> tuple[Record | None, int]:
    """A record of the run, that of the first sample where it is there, and how many records there are."""
    paths = sorted((folder / "records").glob("*.json"))
    for path in paths:
        try:
            return read_record(path), len(paths)
        except MilrError:
            continue
    return None, 0


def _files(folder: Path) -> Iterator[Path]:
    """Every plain file in a run's folder but those of a process at work; links are left out, and not followed."""
    for parent, _, names in os.walk(folder):
        paths = (Path(parent) / name for name in sorted(names))
        whole = (path for path in paths if path.suffix != PARTIAL and not path.name.startswith(LOCK))
        yield from (path for path in whole if path.is_file() and not path.is_symlink())
