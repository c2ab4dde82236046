"""Export of a run's pictures into the folders that the official evaluators read (EVALUATION.md 1.2, 2.2, 3.2).

A layout maps a picture to its path and to the contents of the files that belong beside it; everything else is the same
for all layouts. All checks come before the first write, and the export changes or deletes no file that it does not
itself write.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from milr.inputs.json_text import JsonError, parse_json
from milr.runs.files import DamagedError
from milr.runs.planned_files import OnProgress, write_plan
from milr.runs.record_files import read_picture
from milr.runs.records import Record, StepRecord
from milr.runs.store import RunStore, name_of
from milr.types import Prompt, UsageError

MAX_NAME_LENGTH = 255  # bytes, on every common file system


@dataclass(frozen=True)
class Slot:
    """The picture to export: sample `sample` of `samples` of the prompt at `position` in the benchmark's order."""

    prompt: Prompt
    position: int
    sample: int
    samples: int
    keep_stop: bool = True


@dataclass(frozen=True)
class Target:
    """The path of a picture, and path and content of the files beside it; relative paths with forward slashes."""

    picture: str
    metadata: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class ExportTally:
    """How many pictures of the run are in `folder` now, new ones or earlier ones, and how many samples are missing."""

    pictures: int
    missing: int
    folder: Path


Layout = Callable[[Slot], Target]
Picture = Literal["returned", "first", "last"]


# --- the layouts


def _geneval(slot: Slot) -> Target:
    folder = f"{slot.position:05d}"
    metadata = _geneval_line(slot.prompt).encode()
    return Target(f"{folder}/samples/{slot.sample:04d}.png", {f"{folder}/metadata.jsonl": metadata})


def _geneval_line(prompt: Prompt) -> str:
    """The line of the benchmark file where the prompt has it: the official tool reads `tag` and `prompt` from it."""
    if {"tag", "prompt"} <= _parse_object(prompt.source).keys():
        return prompt.source.rstrip("\r\n")
    if "tag" in (prompt.metadata or {}):
        return json.dumps({**(prompt.metadata or {}), "prompt": prompt.text})
    raise UsageError(f"the prompt '{prompt.text}' has no GenEval metadata with a tag, which layout geneval needs: "
                     "make the run from GenEval's JSON lines.")  # fmt: skip


def _parse_object(line: str) -> dict[str, Any]:
    """The JSON object in `line`; {} where `line` holds none."""
    try:
        value = parse_json(line)
    except JsonError:
        return {}
    return value if isinstance(value, dict) else {}


def _compbench(slot: Slot) -> Target:
    """The evaluators read the prompt from the file name (up to the first "_") and the order from its number."""
    text = slot.prompt.text if slot.keep_stop else slot.prompt.text.rstrip(".")
    file_name = f"{text}_{slot.position * slot.samples + slot.sample:06d}.png"
    forbidden = [name for letter, name in {"_": "'_'", "/": "'/'", "\0": "a NUL"}.items() if letter in text]
    if forbidden:
        raise UsageError(f"the prompt {text!r} contains {forbidden[0]}, and layout t2i-compbench keeps the prompt in "
                         "the file name: reword the prompt.")  # fmt: skip
    if len(os.fsencode(file_name)) > MAX_NAME_LENGTH:
        raise UsageError(f"the prompt '{text[:40]}...' makes a file name of more than {MAX_NAME_LENGTH} bytes in "
                         "layout t2i-compbench: shorten the prompt.")  # fmt: skip
    return Target(f"samples/{file_name}")


def _wise(slot: Slot) -> Target:
    if slot.samples != 1:
        raise UsageError(f"layout wise has one picture for each prompt and this run has {slot.samples} samples: "
                         "make a run with --samples 1.")  # fmt: skip
    if not re.fullmatch("0|[1-9][0-9]*", slot.prompt.id):
        raise UsageError(f"the prompt '{slot.prompt.text}' has the id {slot.prompt.id!r}, and layout wise needs "
                         "a number such as 17: use WISE's prompt_id as the id.")  # fmt: skip
    return Target(f"{slot.prompt.id}.png")


def _geneval2(slot: Slot) -> Target:
    if slot.samples != 1:
        raise UsageError(f"layout geneval2 has one picture for each prompt and this run has {slot.samples} samples: "
                         "make a run with --samples 1.")  # fmt: skip
    return Target(f"{_plain_id(slot.prompt, 'geneval2')}.png")


def _dpg_bench(slot: Slot) -> Target:
    if slot.samples != 1:
        raise UsageError(f"layout dpg-bench has one picture for each prompt and this run has {slot.samples} samples: "
                         "make a run with --samples 1.")  # fmt: skip
    return Target(f"{_plain_id(slot.prompt, 'dpg-bench')}.png")


def _unigenbench(slot: Slot) -> Target:
    return Target(f"{_plain_id(slot.prompt, 'unigenbench')}_{slot.sample}.png")


def _plain_id(prompt: Prompt, layout: str) -> str:
    """The prompt's id, which names a file; UsageError where it cannot."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}", prompt.id):
        raise UsageError(f"the prompt '{prompt.text}' has the id {prompt.id!r}, and layout {layout} names pictures by "
                         "ids of letters, digits, _, . and -: make the run from the benchmark's prompts.")  # fmt: skip
    return prompt.id


def _geneval2_index(targets: Sequence[tuple[Slot, Target]]) -> dict[str, bytes]:
    """The file that says which picture is whose; the official tool reads it, from the folder in which it stands."""
    paths = {slot.prompt.text: target.picture for slot, target in targets}
    return {GENEVAL2_INDEX: json.dumps(paths, indent=1).encode()}


GENEVAL2_INDEX = "image_paths.json"
LAYOUTS: Mapping[str, Layout] = {"geneval": _geneval, "t2i-compbench": _compbench, "wise": _wise,
                                 "geneval2": _geneval2, "dpg-bench": _dpg_bench,
                                 "unigenbench": _unigenbench}  # fmt: skip
# What stands once in a folder, made of all pictures that are in it.
INDEXES: Mapping[str, Callable[[Sequence[tuple[Slot, Target]]], dict[str, bytes]]] = {"geneval2": _geneval2_index}
PICTURES: Mapping[str, Callable[[Record], StepRecord]] = {
    "returned": lambda record: record.result,
    "first": lambda record: record.first,
    "last": lambda record: record.steps[-1],
}


# --- the export


def export(folder: Path, prompts: Sequence[Prompt], records: Sequence[Record], *, layout: str, to: Path,
           picture: Picture = "returned", keep_stop: bool = True,
           on_progress: OnProgress | None = None) -> ExportTally:  # fmt: skip
    """Copy one picture of every finished sample of the run in `folder` to where `layout` wants it under `to`.

    `prompts` are in the benchmark's order. `keep_stop` False drops final full stops from T2I-CompBench's file names,
    as MILR does. After an interruption the same call continues. UsageError when `to` holds any other file.
    """
    choose = PICTURES[checked_name("picture", picture, PICTURES)]
    targets = _targets(prompts, RunStore(folder).run().config.samples, layout, keep_stop=keep_stop)
    pictures = finished_pictures(folder, records, choose)
    plan: dict[str, Path | bytes] = {}
    present = [(slot, target) for slot, target in targets if name_of(slot.prompt, slot.sample) in pictures]
    for slot, target in present:
        plan |= {**target.metadata, target.picture: pictures[name_of(slot.prompt, slot.sample)]}
    if layout in INDEXES:
        plan |= INDEXES[layout](present)
    write_plan(plan, to, on_progress or (lambda done, total: None))
    count = sum(isinstance(content, Path) for content in plan.values())
    return ExportTally(count, len(targets) - count, to)


def _targets(prompts: Sequence[Prompt], samples: int, layout: str, *, keep_stop: bool) -> list[tuple[Slot, Target]]:
    """The target of every sample of the run, finished or not; UsageError when the layout cannot hold one of them."""
    target_of = LAYOUTS[checked_name("layout", layout, LAYOUTS)]
    slots = [
        Slot(prompt, position, sample, samples, keep_stop)
        for position, prompt in enumerate(prompts)
        for sample in range(samples)
    ]
    targets = [(slot, target_of(slot)) for slot in slots]
    _check_unique([target.picture for _, target in targets])
    return targets


def checked_name(kind: str, name: str, choices: Iterable[str]) -> str:
    """`name`; UsageError, with the nearest choice, where it is none of the choices."""
    if name in (names := list(choices)):
        return name
    close = difflib.get_close_matches(name, names, 1, 0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names)}."
    raise UsageError(f"no {kind} is called {name!r}; {hint}")


def _check_unique(names: Sequence[str]) -> None:
    """UsageError where two samples have the same path."""
    shared = [name for name, count in Counter(names).items() if count > 1]
    if shared:
        raise UsageError(f"several prompts would write {shared[0]}: give each prompt its own id.")


def finished_pictures(folder: Path, records: Sequence[Record],
                      choose: Callable[[Record], StepRecord]) -> dict[str, Path]:  # fmt: skip
    """The chosen picture of every finished sample, by the sample's name."""
    store = RunStore(folder)
    return {
        name_of(record.prompt, record.sample): folder / choose(record).picture
        for record in records
        if store.finished(record.prompt, record.sample) and _is_undamaged(folder, choose(record))
    }


def _is_undamaged(folder: Path, step: StepRecord) -> bool:
    try:
        read_picture(folder, step)
    except DamagedError:
        return False
    return True
