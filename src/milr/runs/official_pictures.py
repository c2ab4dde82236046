"""Pictures in the folders of the official evaluators, by whatever tool they were made: the inverse of `layouts`.

A picture's prompt is found as the official evaluators find it: GenEval's in the metadata.jsonl beside it,
T2I-CompBench's in its own name, WISE's by its id. Files that are no pictures are left alone; a picture that is not the
benchmark's is an error, because it would silently not count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from milr.runs.layouts import LAYOUTS, Slot
from milr.types import Prompt, UsageError

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
MISMATCH = "mend it, or name the --prompts with which the pictures were made"


@dataclass(frozen=True)
class OfficialPicture:
    """One picture of a folder: whose it is, and which of its prompt's samples."""

    prompt: Prompt
    sample: int
    path: Path


Found = Iterator[OfficialPicture]


def find_pictures(folder: Path, prompts: Sequence[Prompt], layout: str, samples: int | None = None
                  ) -> list[OfficialPicture]:  # fmt: skip
    """All pictures of the benchmark's `prompts` in `folder`, in no order; holes are left to the caller.

    `samples` None: as many as the prompt with the most pictures has. UsageError, naming the file, for a picture or
    metadata of no prompt, for one sample in two files, and for more samples than `samples`.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}: name one with pictures in the layout of the benchmark.")
    if layout not in READERS:
        raise UsageError("this benchmark has no official layout: pictures of it are judged by milr bench.")
    try:
        found = list(READERS[layout](folder, prompts, samples))
    except OSError as error:
        raise UsageError(f"{error.filename or folder} cannot be read ({error.strerror}): mend that first.") from None
    _refuse_twins(found)
    for one in found:
        if samples is not None and one.sample >= samples:
            raise UsageError(f"{one.path} is sample {one.sample} and {samples} are asked for, counted from 0: "
                             "ask for more --samples.")  # fmt: skip
    return found


def _refuse_twins(found: Sequence[OfficialPicture]) -> None:
    seen: dict[tuple[str, str, int], Path] = {}
    for one in found:
        key = (one.prompt.id, one.prompt.text, one.sample)
        if key in seen:
            raise UsageError(f"{seen[key]} and {one.path} are the same sample of '{one.prompt.text}': "
                             "keep one of them, or ask for more --samples.")  # fmt: skip
        seen[key] = one.path


def _pictures_in(folder: Path) -> list[Path]:
    """Everything in `folder` that is named like a picture, sorted."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS and path.name[0] != ".")


def _foreign(path: Path, wanted: str) -> UsageError:
    return UsageError(f"{path} is no picture of this benchmark, whose pictures are named {wanted}: move it away.")


# --- GenEval: 00000/metadata.jsonl and 00000/samples/0000.png


def _geneval(folder: Path, prompts: Sequence[Prompt], samples: int | None) -> Found:
    known = {_canonical(_metadata_of(prompt)): prompt for prompt in prompts}
    for path in _pictures_in(folder):
        raise _foreign(path, "00000/samples/0000.png")
    for inside in sorted(path for path in folder.iterdir() if path.is_dir() and re.fullmatch("[0-9]+", path.name)):
        prompt = _prompt_of(inside, known)
        for path in _pictures_in(inside / "samples") if (inside / "samples").is_dir() else []:
            if not re.fullmatch(r"[0-9]+\.png", path.name):
                raise _foreign(path, "0000.png, 0001.png, ...")
            yield OfficialPicture(prompt, int(path.stem), path)


def _metadata_of(prompt: Prompt) -> Any:
    return json.loads(next(iter(LAYOUTS["geneval"](Slot(prompt, 0, 0, 1)).beside.values())))


def _prompt_of(folder: Path, known: Mapping[str, Prompt]) -> Prompt:
    """The prompt whose line stands in the folder, whatever the order of its fields."""
    path = folder / "metadata.jsonl"
    if not path.is_file():
        raise UsageError(f"{folder} has no metadata.jsonl to say of which prompt it is: write the prompt's line there.")
    try:
        told = json.loads(path.read_bytes())
    except ValueError:
        told = None
    if _canonical(told) not in known:
        raise UsageError(f"{path} is no line of the benchmark's prompts: {MISMATCH}.")
    return known[_canonical(told)]


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


# --- T2I-CompBench: samples/<prompt>_000000.png, in one root or in one for each category


def _compbench(folder: Path, prompts: Sequence[Prompt], samples: int | None) -> Found:
    named: dict[tuple[str, ...], list[tuple[int, Path]]] = {}  # by the texts that a picture's prompt may have
    for root, allowed in _compbench_roots(folder, prompts):
        texts: dict[str, list[str]] = {}
        for prompt in allowed:
            for name in dict.fromkeys((prompt.text, prompt.text.rstrip("."))):  # MILR leaves the full stop out
                texts.setdefault(name, []).append(prompt.text)
        for path in _pictures_in(root):
            told = re.fullmatch(r"([^_]*)_([0-9]+)\.png", path.name)
            if told is None or told[1] not in texts:
                raise _foreign(path, "<prompt>_000000.png")
            named.setdefault(tuple(texts[told[1]]), []).append((int(told[2]), path))
    each = samples or max((-(-len(found) // len(texts)) for texts, found in named.items()), default=1)
    numbered: dict[str, list[tuple[int, Path]]] = {}
    for texts_of, found in named.items():
        for number, path in found:
            numbered.setdefault(_meant(texts_of, number // each, prompts), []).append((number, path))
    for prompt in prompts:
        yield from _in_turn(prompt, sorted(numbered.get(prompt.text, [])), each)


def _meant(texts: Sequence[str], place: int, prompts: Sequence[Prompt]) -> str:
    """The one of several texts whose prompt stands at `place` of its category's list; the only one there is."""
    if len(texts) > 1:
        counts: dict[str, int] = {}
        for prompt in prompts:
            at = counts[prompt.category] = counts.get(prompt.category, -1) + 1
            if at == place and prompt.text in texts:
                return prompt.text
    return texts[0]


def _compbench_roots(folder: Path, prompts: Sequence[Prompt]) -> Iterator[tuple[Path, list[Prompt]]]:
    """Every folder of pictures with the prompts that may be in it: one for all, one for each category, or both."""
    if (folder / "samples").is_dir():
        yield folder / "samples", list(prompts)
    for category in dict.fromkeys(prompt.category for prompt in prompts):
        if category and (folder / category / "samples").is_dir():
            yield folder / category / "samples", [prompt for prompt in prompts if prompt.category == category]


def _in_turn(prompt: Prompt, numbered: Sequence[tuple[int, Path]], each: int) -> Found:
    """A prompt has the numbers n * each to n * each + each - 1, wherever its list begins to count."""
    for number, path in numbered:
        if number // each != numbered[0][0] // each:
            raise UsageError(f"{numbered[0][1]} and {path} are of one prompt, but not by their numbers with "
                             f"--samples {each}: name the right number of samples.")  # fmt: skip
        yield OfficialPicture(prompt, number % each, path)


# --- WISE: <prompt_id>.png


def _wise(folder: Path, prompts: Sequence[Prompt], samples: int | None) -> Found:
    by_id = {prompt.id: prompt for prompt in prompts}
    for path in _pictures_in(folder):
        if path.suffix != ".png" or path.stem not in by_id:
            raise _foreign(path, "<prompt_id>.png")
        yield OfficialPicture(by_id[path.stem], 0, path)


Reader = Callable[[Path, Sequence[Prompt], int | None], Found]
READERS: Mapping[str, Reader] = {"geneval": _geneval, "t2i-compbench": _compbench, "wise": _wise}
