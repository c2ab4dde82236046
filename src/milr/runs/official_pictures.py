"""Reads pictures, made by any tool, from the folders of the official evaluators: the inverse of `layouts`.

A picture's prompt is determined as the official evaluators do it: GenEval's from the metadata.jsonl beside it,
T2I-CompBench's from the file name, WISE's from the id. Files that are not pictures are ignored; a picture of no prompt
of the benchmark is an error, because the evaluation would leave it out silently.
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

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
REMEDY = "mend it, or name the --prompts with which the pictures were made"


@dataclass(frozen=True)
class OfficialPicture:
    """One picture of a folder, with its prompt and the number of its sample."""

    prompt: Prompt
    sample: int
    path: Path


Pictures = Iterator[OfficialPicture]


def find_pictures(folder: Path, prompts: Sequence[Prompt], layout: str, *, samples: int | None = None
                  ) -> list[OfficialPicture]:  # fmt: skip
    """All pictures of the benchmark's `prompts` in `folder`, in no particular order; samples may be missing.

    `samples` is the number of pictures per prompt (None: that of the prompt with the most). UsageError, naming the
    file, for a picture or metadata of no prompt, for one sample in two files, and for a sample number of `samples` or
    more.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}: name one with pictures in the layout of the benchmark.")
    if layout not in READERS:
        raise UsageError("this benchmark has no official layout: pictures of it are judged by milr bench.")
    try:
        pictures = list(READERS[layout](folder, prompts, samples))
    except OSError as error:
        raise UsageError(f"{error.filename or folder} cannot be read ({error.strerror}): mend that first.") from None
    _check_unique(pictures)
    for picture in pictures:
        if samples is not None and picture.sample >= samples:
            raise UsageError(f"{picture.path} is sample {picture.sample} and {samples} are asked for, counted from 0: "
                             "ask for more --samples.")  # fmt: skip
    return pictures


def _check_unique(pictures: Sequence[OfficialPicture]) -> None:
    """UsageError where two files are the same sample of a prompt."""
    paths: dict[tuple[str, str, int], Path] = {}
    for picture in pictures:
        key = (picture.prompt.id, picture.prompt.text, picture.sample)
        if key in paths:
            raise UsageError(f"{paths[key]} and {picture.path} are the same sample of '{picture.prompt.text}': "
                             "keep one of them, or ask for more --samples.")  # fmt: skip
        paths[key] = picture.path


def _picture_files(folder: Path) -> list[Path]:
    """The files in `folder` with the suffix of a picture, sorted; hidden files are left out."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES and path.name[0] != ".")


def _not_of_benchmark(path: Path, expected: str) -> UsageError:
    return UsageError(f"{path} is no picture of this benchmark, whose pictures are named {expected}: move it away.")


# --- GenEval: 00000/metadata.jsonl and 00000/samples/0000.png


def _geneval(folder: Path, prompts: Sequence[Prompt], samples: int | None) -> Pictures:
    prompt_by_line = {_canonical(_metadata_of(prompt)): prompt for prompt in prompts}
    for path in _picture_files(folder):
        raise _not_of_benchmark(path, "00000/samples/0000.png")
    numbered = (path for path in folder.iterdir() if path.is_dir() and re.fullmatch("[0-9]+", path.name))
    for prompt_folder in sorted(numbered):
        prompt = _prompt_of(prompt_folder, prompt_by_line)
        for path in _picture_files(prompt_folder / "samples") if (prompt_folder / "samples").is_dir() else []:
            if not re.fullmatch(r"[0-9]+\.png", path.name):
                raise _not_of_benchmark(path, "0000.png, 0001.png, ...")
            yield OfficialPicture(prompt, int(path.stem), path)


def _metadata_of(prompt: Prompt) -> Any:
    return json.loads(next(iter(LAYOUTS["geneval"](Slot(prompt, 0, 0, 1)).metadata.values())))


def _prompt_of(folder: Path, prompt_by_line: Mapping[str, Prompt]) -> Prompt:
    """The prompt whose line is in the folder's metadata.jsonl; the order of the line's fields does not matter."""
    path = folder / "metadata.jsonl"
    if not path.is_file():
        raise UsageError(f"{folder} has no metadata.jsonl to say of which prompt it is: write the prompt's line there.")
    try:
        line = _canonical(json.loads(path.read_bytes()))
    except ValueError:
        line = ""
    if line not in prompt_by_line:
        raise UsageError(f"{path} is no line of the benchmark's prompts: {REMEDY}.")
    return prompt_by_line[line]


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


# --- T2I-CompBench: samples/<prompt>_000000.png, in one folder or in one for each category


def _compbench(folder: Path, prompts: Sequence[Prompt], samples: int | None) -> Pictures:
    by_candidates = _compbench_files(folder, prompts)
    pictures_each = max((-(-len(files) // len(texts)) for texts, files in by_candidates.items()), default=1)
    per_prompt = samples or pictures_each
    by_text: dict[str, list[NumberedFile]] = {}
    for texts, files in by_candidates.items():
        for number, path in files:
            by_text.setdefault(_choose_text(texts, number // per_prompt, prompts), []).append((number, path))
    for prompt in prompts:
        yield from _number_samples(prompt, sorted(by_text.get(prompt.text, [])), per_prompt)


NumberedFile = tuple[int, Path]


def _compbench_files(folder: Path, prompts: Sequence[Prompt]) -> dict[tuple[str, ...], list[NumberedFile]]:
    """Number and path of every picture, by the texts of the prompts that its file name may mean.

    A name without a final full stop may mean two prompts, because MILR drops the full stop.
    """
    by_candidates: dict[tuple[str, ...], list[NumberedFile]] = {}
    for picture_folder, allowed in _compbench_folders(folder, prompts):
        texts: dict[str, list[str]] = {}
        for prompt in allowed:
            for name in dict.fromkeys((prompt.text, prompt.text.rstrip("."))):
                texts.setdefault(name, []).append(prompt.text)
        for path in _picture_files(picture_folder):
            match = re.fullmatch(r"([^_]*)_([0-9]+)\.png", path.name)
            if match is None or match[1] not in texts:
                raise _not_of_benchmark(path, "<prompt>_000000.png")
            by_candidates.setdefault(tuple(texts[match[1]]), []).append((int(match[2]), path))
    return by_candidates


def _choose_text(texts: Sequence[str], position: int, prompts: Sequence[Prompt]) -> str:
    """The text whose prompt is at `position` of its category's list, else the first of `texts`."""
    if len(texts) > 1:
        last_positions: dict[str, int] = {}
        for prompt in prompts:
            current = last_positions[prompt.category] = last_positions.get(prompt.category, -1) + 1
            if current == position and prompt.text in texts:
                return prompt.text
    return texts[0]


def _compbench_folders(folder: Path, prompts: Sequence[Prompt]) -> Iterator[tuple[Path, list[Prompt]]]:
    """Every folder of pictures with the prompts that may be in it: one for all, one for each category, or both."""
    if (folder / "samples").is_dir():
        yield folder / "samples", list(prompts)
    for category in dict.fromkeys(prompt.category for prompt in prompts):
        if category and (folder / category / "samples").is_dir():
            yield folder / category / "samples", [prompt for prompt in prompts if prompt.category == category]


def _number_samples(prompt: Prompt, files: Sequence[NumberedFile], per_prompt: int) -> Pictures:
    """The pictures of one prompt, whose numbers run from n * per_prompt to n * per_prompt + per_prompt - 1, any n."""
    for number, path in files:
        if number // per_prompt != files[0][0] // per_prompt:
            raise UsageError(f"{files[0][1]} and {path} are of one prompt, but not by their numbers with "
                             f"--samples {per_prompt}: name the right number of samples.")  # fmt: skip
        yield OfficialPicture(prompt, number % per_prompt, path)


# --- WISE: <prompt_id>.png


def _wise(folder: Path, prompts: Sequence[Prompt], samples: int | None) -> Pictures:
    by_id = {prompt.id: prompt for prompt in prompts}
    for path in _picture_files(folder):
        if path.suffix != ".png" or path.stem not in by_id:
            raise _not_of_benchmark(path, "<prompt_id>.png")
        yield OfficialPicture(by_id[path.stem], 0, path)


Reader = Callable[[Path, Sequence[Prompt], int | None], Pictures]
READERS: Mapping[str, Reader] = {"geneval": _geneval, "t2i-compbench": _compbench, "wise": _wise}
