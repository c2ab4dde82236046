"""Pictures of a run in the folders that the official evaluators read (EVALUATION.md 1.2, 2.2, 3.2).

A layout says where one picture goes and what stands beside it; the rest is the same for all. Everything is checked
before the first byte is written, and no file in the folder that is not this export's own is changed or deleted.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from milr.runs.files import PARTIAL, remove_leftovers
from milr.runs.records import Record, StepRecord
from milr.runs.store import RunStore, name_of
from milr.types import Prompt, UsageError

LONGEST_NAME = 255  # bytes, on every common file system
STAGING = "milr-export-"


@dataclass(frozen=True)
class Slot:
    """Which picture to place: the prompt at `position` in the benchmark's order, and one of its `samples`."""

    prompt: Prompt
    position: int
    sample: int
    samples: int
    keep_stop: bool = True


@dataclass(frozen=True)
class Place:
    """Where a picture goes, and what the files beside it hold; paths are relative, with forward slashes."""

    picture: str
    beside: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class ExportTally:
    """How many pictures of the run are in `folder` now (written, or found there), and how many samples it lacks."""

    pictures: int
    missing: int
    folder: Path


Layout = Callable[[Slot], Place]
Picture = Literal["returned", "first", "last"]
OnFile = Callable[[int, int], None]  # files in place, of how many
Plan = Mapping[str, Path | bytes]  # relative path to the picture to copy, or to the content


# --- the layouts


def _geneval(slot: Slot) -> Place:
    folder = f"{slot.position:05d}"
    metadata = _geneval_line(slot.prompt).encode()
    return Place(f"{folder}/samples/{slot.sample:04d}.png", {f"{folder}/metadata.jsonl": metadata})


def _geneval_line(prompt: Prompt) -> str:
    """The benchmark's own line where it is known: the official tool reads `tag` and `prompt` from it."""
    if {"tag", "prompt"} <= _parsed(prompt.source).keys():
        return prompt.source.rstrip("\r\n")
    if "tag" in (prompt.metadata or {}):
        return json.dumps({**(prompt.metadata or {}), "prompt": prompt.text})
    raise UsageError(f"the prompt '{prompt.text}' has no GenEval metadata with a tag, which layout geneval needs: "
                     "make the run from GenEval's JSON lines.")  # fmt: skip


def _parsed(line: str) -> dict[str, Any]:
    """The JSON object in `line`; empty when there is none."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _compbench(slot: Slot) -> Place:
    """The evaluators take the prompt from the name (all before the first "_") and the order from the number."""
    text = slot.prompt.text if slot.keep_stop else slot.prompt.text.rstrip(".")
    name = f"{text}_{slot.position * slot.samples + slot.sample:06d}.png"
    wrong = [told for mark, told in {"_": "'_'", "/": "'/'", "\0": "a NUL"}.items() if mark in text]
    if wrong:
        raise UsageError(f"the prompt {text!r} contains {wrong[0]}, and layout t2i-compbench keeps the prompt in the "
                         "file name: reword the prompt.")  # fmt: skip
    if len(os.fsencode(name)) > LONGEST_NAME:
        raise UsageError(f"the prompt '{text[:40]}...' makes a file name of more than {LONGEST_NAME} bytes in layout "
                         "t2i-compbench: shorten the prompt.")  # fmt: skip
    return Place(f"samples/{name}")


def _wise(slot: Slot) -> Place:
    if slot.samples != 1:
        raise UsageError(f"layout wise has one picture for each prompt and this run has {slot.samples} samples: "
                         "make a run with --samples 1.")  # fmt: skip
    if not re.fullmatch("0|[1-9][0-9]*", slot.prompt.id):
        raise UsageError(f"the prompt '{slot.prompt.text}' has the id {slot.prompt.id!r}, and layout wise needs "
                         "a number such as 17: use WISE's prompt_id as the id.")  # fmt: skip
    return Place(f"{slot.prompt.id}.png")


LAYOUTS: Mapping[str, Layout] = {"geneval": _geneval, "t2i-compbench": _compbench, "wise": _wise}
PICTURES: Mapping[str, Callable[[Record], StepRecord]] = {
    "returned": lambda record: record.result,
    "first": lambda record: record.first,
    "last": lambda record: record.steps[-1],
}


# --- the export


def export(folder: Path, prompts: Sequence[Prompt], records: Sequence[Record], *, layout: str, to: Path,
           picture: Picture = "returned", keep_stop: bool = True,
           on_file: OnFile | None = None) -> ExportTally:  # fmt: skip
    """Copy one picture of every finished sample of the run in `folder` to where `layout` wants it under `to`.

    `prompts` are in the benchmark's order. `keep_stop` False drops final full stops from T2I-CompBench's file names,
    as MILR does. The same call goes on where an interrupted one ended; UsageError when `to` holds anything else.
    """
    chosen = PICTURES[_known("picture", picture, PICTURES)]
    places = _places(prompts, RunStore(folder).run().config.samples, layout, keep_stop)
    found = _finished(folder, records, chosen)
    plan: dict[str, Path | bytes] = {}
    for slot, place in places:
        if kept := found.get(name_of(slot.prompt, slot.sample)):
            plan |= {**place.beside, place.picture: kept}
    _write(plan, to, on_file or (lambda done, total: None))
    pictures = sum(isinstance(content, Path) for content in plan.values())
    return ExportTally(pictures, len(places) - pictures, to)


def _places(prompts: Sequence[Prompt], samples: int, layout: str, keep_stop: bool) -> list[tuple[Slot, Place]]:
    """Every picture that the whole run has, finished or not, with its place; UsageError when one cannot be placed."""
    place_of = LAYOUTS[_known("layout", layout, LAYOUTS)]
    slots = [
        Slot(prompt, position, sample, samples, keep_stop)
        for position, prompt in enumerate(prompts)
        for sample in range(samples)
    ]
    places = [(slot, place_of(slot)) for slot in slots]
    _refuse_shared([place.picture for _, place in places])
    return places


def _known(kind: str, name: str, known: Iterable[str]) -> str:
    """`name`, or a UsageError with the nearest known one."""
    if name in (names := list(known)):
        return name
    close = difflib.get_close_matches(name, names, 1, 0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names)}."
    raise UsageError(f"no {kind} is called {name!r}; {hint}")


def _refuse_shared(names: Sequence[str]) -> None:
    shared = [name for name, count in Counter(names).items() if count > 1]
    if shared:
        raise UsageError(f"several prompts would write {shared[0]}: give each prompt its own id.")


def _finished(folder: Path, records: Sequence[Record], chosen: Callable[[Record], StepRecord]) -> dict[str, Path]:
    """The chosen picture of every sample that the run counts as finished, by the sample's name."""
    store = RunStore(folder)
    return {
        name_of(record.prompt, record.sample): folder / chosen(record).picture
        for record in records
        if store.finished(record.prompt, record.sample)
    }


def _write(plan: Plan, to: Path, on_file: OnFile) -> None:
    """Put every planned file that is not there yet in its place."""
    try:
        folders = _folders_of(plan)
        _refuse_foreign(plan, folders, to)
        for name in folders:
            (to / name).mkdir(parents=True, exist_ok=True)
            remove_leftovers(to / name, f"{STAGING}*")
        for done, (name, content) in enumerate(plan.items(), 1):
            if not (to / name).exists():
                _put(to / name, _bytes(content))
            on_file(done, len(plan))
    except OSError as error:
        raise UsageError(f"{to} cannot be written ({error.strerror or error}): mend that, or choose another --to."
                         ) from error  # fmt: skip


def _folders_of(plan: Plan) -> set[str]:
    return {".", *(str(parent) for name in plan for parent in PurePosixPath(name).parents)}


def _refuse_foreign(plan: Plan, folders: set[str], to: Path) -> None:
    """Only what this export writes, byte for byte, and what a killed one left half-written may lie in `to`."""
    for path in sorted(to.rglob("*")):
        name = path.relative_to(to)
        left_over = path.name.startswith(f".{STAGING}") and path.name.endswith(PARTIAL)
        if not (left_over or _is_planned(path, name.as_posix(), plan, folders)):
            raise UsageError(f"{to} holds {name}, which is not what this export writes there: choose an empty --to.")


def _is_planned(path: Path, name: str, plan: Plan, folders: set[str]) -> bool:
    if path.is_symlink():
        return False
    if path.is_dir():
        return name in folders
    return name in plan and path.is_file() and path.read_bytes() == _bytes(plan[name])


def _bytes(content: Path | bytes) -> bytes:
    return content.read_bytes() if isinstance(content, Path) else content


def _put(path: Path, content: bytes) -> None:
    """Write under a temporary name, then rename. The name is short because `path` may have the longest name allowed."""
    staging = path.with_name(f".{STAGING}{os.getpid()}{PARTIAL}")
    try:
        staging.write_bytes(content)
        staging.replace(path)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
