"""Reads pictures, made by any tool, from the folders of the official evaluators: the inverse of `layouts`.

A picture's prompt is determined as the official evaluators do it: GenEval's from the metadata.jsonl beside it,
T2I-CompBench's from the file name, WISE's from the id. Files that are not pictures are ignored; a picture of no prompt
of the benchmark is an error, because the evaluation would leave it out silently.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milr.inputs.files import MEBIBYTE, read_file
from milr.inputs.json_text import JsonError, parse_json
from milr.inputs.pictures import SUFFIXES
from milr.runs.layouts import GENEVAL2_INDEX, LAYOUTS, Slot
from milr.types import Prompt, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURE = r"\.(?:png|jpe?g|webp|gif|bmp|tiff?)"  # any ending of a picture, in any case
MAX_DIGITS = 9  # of a number in the name of a file or folder
MAX_SAMPLES = 10_000  # pictures of one prompt
OTHER_CATEGORIES = ("numeracy", "2d_spatial", "3d_spatial")  # T2I-CompBench++'s, which this benchmark does not have
MAX_METADATA_BYTES = MEBIBYTE
READ_BY_THE_EVALUATOR = ("tag", "prompt", "include", "exclude")  # of GenEval's metadata
REMEDY = "mend it, or name the --prompts with which the pictures were made"


@dataclass(frozen=True)
class OfficialPicture:
    """One picture of a folder, with its prompt and the number of its sample.

    `tile`: it is that part of a grid of 2 x 2 (0 left-top, 1 right-top, 2 left-bottom, 3 right-bottom; None: no grid).
    """

    prompt: Prompt
    sample: int
    path: Path
    tile: int | None = None

    def cut(self, picture: Image) -> Image:
        """The part of the whole picture that this one is."""
        if self.tile is None:
            return picture
        width, height = picture.width // 2, picture.height // 2
        left, top = (self.tile % 2) * width, (self.tile // 2) * height
        return picture.crop((left, top, left + width, top + height))


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
    if samples is not None and not 1 <= samples <= MAX_SAMPLES:
        raise UsageError(f"--samples lies between 1 and {MAX_SAMPLES}; it is {samples}.")
    try:
        pictures = list(READERS[layout](folder, prompts, samples))
    except OSError as error:
        raise UsageError(f"{error.filename or folder} cannot be read ({error.strerror}): mend that first.") from None
    _check_unique(pictures)
    for picture in pictures:
        if picture.sample >= MAX_SAMPLES:
            raise UsageError(f"{picture.path} is sample {picture.sample} of its prompt, and a prompt has at most "
                             f"{MAX_SAMPLES}: number the pictures from 0.")  # fmt: skip
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
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != ".")


def _not_of_benchmark(path: Path, expected: str) -> UsageError:
    return UsageError(f"{path} is no picture of this benchmark, whose pictures are named {expected}: move it away.")


# --- GenEval: 00000/metadata.jsonl and 00000/samples/0000.png


def _geneval(folder: Path, prompts: Sequence[Prompt], samples: int | None) -> Pictures:
    prompt_by_line = {_canonical(_metadata_of(prompt)): prompt for prompt in prompts}
    for path in _picture_files(folder):
        raise _not_of_benchmark(path, "00000/samples/0000.png")
    numbered = (path for path in folder.iterdir() if path.is_dir() and re.fullmatch("[0-9]+", path.name))
    folders = [(path, _prompt_of(path, prompt_by_line)) for path in sorted(numbered)]
    per_folder = _samples_per_folder(folders)
    positions: dict[str, int] = {}
    for prompt_folder, prompt in folders:
        key = f"{prompt.id}\0{prompt.text}"
        earlier = positions[key] = positions.get(key, -1) + 1
        for path in _geneval_files(prompt_folder):
            yield OfficialPicture(prompt, earlier * per_folder + _number(path.stem, path), path)


def _geneval_files(prompt_folder: Path) -> list[Path]:
    """The pictures of one prompt's folder; UsageError for a name that is no number."""
    samples = prompt_folder / "samples"
    files = _picture_files(samples) if samples.is_dir() else []
    for path in files:
        if not re.fullmatch(rf"[0-9]+{PICTURE}", path.name, re.IGNORECASE):
            raise _not_of_benchmark(path, "0000.png, 0001.png, ...")
    return files


def _samples_per_folder(folders: Sequence[tuple[Path, Prompt]]) -> int:
    """How many samples a folder has, where every prompt has equally many folders, several; else 0.

    Such folders come of a file in which each line stands as often as there are to be pictures.
    """
    counts = Counter((prompt.id, prompt.text) for _, prompt in folders)
    if set(counts.values()) <= {1} or len(set(counts.values())) > 1 or len(counts) == 1:
        return 0
    numbers = (_number(path.stem, path) for folder, _ in folders for path in _geneval_files(folder))
    return 1 + max(numbers, default=0)


def _metadata_of(prompt: Prompt) -> Any:
    return parse_json(next(iter(LAYOUTS["geneval"](Slot(prompt, 0, 0, 1)).metadata.values())))


def _prompt_of(folder: Path, prompt_by_line: Mapping[str, Prompt]) -> Prompt:
    """The prompt whose line is in the folder's metadata.jsonl, of which counts what the official evaluator reads."""
    path = folder / "metadata.jsonl"
    if not path.exists():
        raise UsageError(f"{folder} has no metadata.jsonl to say of which prompt it is: write the prompt's line there.")
    try:
        line = _canonical(parse_json(read_file(path, MAX_METADATA_BYTES)))
    except (JsonError, UnicodeDecodeError):
        line = ""
    if line not in prompt_by_line:
        raise UsageError(f"{path} is no line of the benchmark's prompts: {REMEDY}.")
    return prompt_by_line[line]


def _canonical(value: Any) -> str:
    """The metadata as text: only fields that the evaluator reads, and not an exclude clause that excludes nothing."""
    if isinstance(value, Mapping):
        value = {name: value[name] for name in READ_BY_THE_EVALUATOR if value.get(name) not in (None, [])}
    return json.dumps(value, sort_keys=True)


def _number(digits: str, path: Path) -> int:
    """A number in a file's name; UsageError where it has more than MAX_DIGITS digits."""
    if len(digits.lstrip("0")) > MAX_DIGITS:
        raise UsageError(f"{path} has a number of more than {MAX_DIGITS} digits: number the pictures from 0.")
    return int(digits)


# --- T2I-CompBench: samples/<prompt>_000000.png, in one folder or in one for each category


def _compbench(folder: Path, prompts: Sequence[Prompt], samples: int | None) -> Pictures:
    by_candidates = _compbench_files(folder, prompts)
    pictures_each = max((-(-len(files) // len(texts)) for texts, files in by_candidates.items()), default=1)
    per_prompt = samples or pictures_each
    by_text: dict[str, list[NumberedFile]] = {}
    for texts, files in by_candidates.items():
        for number, path in files:
            by_text.setdefault(_choose_text(texts, number // per_prompt, prompts), []).append((number, path))
    firsts = {min(number for number, _ in files) for files in by_text.values()}
    start = 1 if firsts == {1} and len(by_text) > 1 else 0  # some tools restart at 1 for each prompt
    for prompt in prompts:
        files = sorted((number - start, path) for number, path in by_text.get(prompt.text, []))
        yield from _number_samples(prompt, files, per_prompt)


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
            match = re.fullmatch(rf"([^_]*)_([0-9]+){PICTURE}", path.name, re.IGNORECASE)
            if match is None or match[1] not in texts:
                raise _not_of_benchmark(path, "<prompt>_000000.png")
            by_candidates.setdefault(tuple(texts[match[1]]), []).append((_number(match[2], path), path))
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
    """Every folder of pictures with the prompts that may be in it: one for all, one for each category, or both.

    The case of letters in a category's name does not matter, and its pictures may lie in it or in its `samples`.
    UsageError for a folder of pictures of another category.
    """
    categories = list(dict.fromkeys(prompt.category for prompt in prompts if prompt.category))
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        pictures = path / "samples" if (path / "samples").is_dir() else path
        category = path.name.lower().replace("-", "_")
        if path.name == "samples":
            yield path, list(prompts)
        elif category in categories:
            yield pictures, [prompt for prompt in prompts if prompt.category == category]
        elif pictures != path or category in OTHER_CATEGORIES:
            raise UsageError(f"{path} is of no category of this benchmark, which has {', '.join(categories)}: move it "
                             "away.")  # fmt: skip


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
        if path.stem not in by_id:
            raise _not_of_benchmark(path, "<prompt_id>.png")
        yield OfficialPicture(by_id[path.stem], 0, path)


# --- GenEval 2: image_paths.json, an object of prompts with the paths of their pictures


def _geneval2(folder: Path, prompts: Sequence[Prompt], samples: int | None) -> Pictures:
    by_text = {prompt.text: prompt for prompt in prompts}
    index = folder / GENEVAL2_INDEX
    try:
        paths = parse_json(read_file(index, MAX_METADATA_BYTES))
    except (JsonError, UnicodeDecodeError):
        paths = None
    if not isinstance(paths, dict) or not all(isinstance(path, str) and path for path in paths.values()):
        raise UsageError(f"{index} is no JSON object of prompts with the paths of their pictures: mend it.")
    for text, path in paths.items():
        if text.strip() not in by_text:
            raise UsageError(f"{index} has the prompt {text!r}, which is none of the benchmark's: {REMEDY}.")
        if (folder / path).is_file():
            yield OfficialPicture(by_text[text.strip()], 0, folder / path)


# --- DPG-Bench: <item_id>.png, one picture or a grid of four


def _dpg_bench(folder: Path, prompts: Sequence[Prompt], samples: int | None) -> Pictures:
    if samples not in (None, 1, GRID):
        raise UsageError(
            f"DPG-Bench has one picture for each prompt or a grid of {GRID}: ask for --samples 1 or {GRID}."
        )
    by_id = {prompt.id: prompt for prompt in prompts}
    for path in _picture_files(folder):
        if path.stem not in by_id:
            raise _not_of_benchmark(path, "<item_id>.png")
        for tile in range(GRID) if samples == GRID else (None,):
            yield OfficialPicture(by_id[path.stem], tile or 0, path, tile)


# --- UniGenBench++: <index>_<k>.png


def _unigenbench(folder: Path, prompts: Sequence[Prompt], samples: int | None) -> Pictures:
    by_id = {prompt.id: prompt for prompt in prompts}
    for path in _picture_files(folder):
        index, _, sample = path.stem.rpartition("_")
        if index not in by_id or not re.fullmatch("[0-9]+", sample):
            raise _not_of_benchmark(path, "<index>_0.png, <index>_1.png, ...")
        yield OfficialPicture(by_id[index], _number(sample, path), path)


GRID = 4
Reader = Callable[[Path, Sequence[Prompt], int | None], Pictures]
READERS: Mapping[str, Reader] = {"geneval": _geneval, "t2i-compbench": _compbench, "wise": _wise,
                                 "geneval2": _geneval2, "dpg-bench": _dpg_bench,
                                 "unigenbench": _unigenbench}  # fmt: skip
