"""The files of a checkpoint: which of them are loaded, that they lie inside its folder, and what tells two versions of
them apart. Only safetensors are weights. Loads neither torch nor transformers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from milr.types import MissingError


@dataclass(frozen=True)
class WeightForm:
    """How weights are stored: in one file, or in several that an index names."""

    single: str
    index: str
    ending: str


SAFETENSORS = WeightForm("model.safetensors", "model.safetensors.index.json", ".safetensors")
PICKLES = WeightForm("pytorch_model.bin", "pytorch_model.bin.index.json", ".bin")
SETTINGS = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
            "special_tokens_map.json", "added_tokens.json", "preprocessor_config.json", "processor_config.json",
            "chat_template.jinja", "chat_template.json")  # fmt: skip
"""The files beside the weights that decide what a model reads and writes."""
MAX_JSON_BYTES = 2**27  # of a tokenizer or an index; Janus-Pro's tokenizer.json has 5 MB
MAX_HEADER_BYTES = 10**8  # of a safetensors file, the format's own limit
SIZED_FROM = 1 << 30  # bytes; a larger file counts by its size, time and header
_POINTER = b"version https://git-lfs"


def weight_files(folder: Path, name: str) -> list[Path]:
    """The safetensors files that hold the weights: model.safetensors, else those that its index names, sorted.

    `name` is what errors call the checkpoint. MissingError where there are none, where one is no safetensors file or
    lies outside the folder, and where the folder holds something else than weights (an adapter, a git-lfs pointer).
    """
    if (folder / "adapter_config.json").exists():
        raise MissingError(f"{name} is an adapter (LoRA), or has one beside its weights: merge it into its base model "
                           "(peft: merge_and_unload, then save_pretrained) and name the folder with the result."
                           )  # fmt: skip
    files = find_weight_files(folder, name, SAFETENSORS)
    if not files:
        raise MissingError(f"{name} holds no safetensors weights: there is neither {SAFETENSORS.single} nor "
                           f"{SAFETENSORS.index}; pickled weights (.bin, .pt) are not loaded.")  # fmt: skip
    return files


def find_weight_files(folder: Path, name: str, form: WeightForm) -> list[Path]:
    """The files that hold the weights in one form, sorted; none where the folder has none. Errors as `weight_files`."""
    files = [folder / file for file in ([form.single] if _is_there(folder / form.single) else
                                        _indexed(folder, name, form))]  # fmt: skip
    for path in files:
        check_file(path, folder, name)
    return files


def _indexed(folder: Path, name: str, form: WeightForm) -> list[str]:
    """The names of the files in the folder's index, each once; none without an index."""
    if not _is_there(folder / form.index):
        return []
    weight_map = read_json(folder / form.index, folder, name).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise MissingError(f"{form.index} of {name} does not say which file holds which weights; fetch it again.")
    files = sorted(set(weight_map.values()))
    for file in files:
        if not file.endswith(form.ending) or Path(file).name != file or "\\" in file or "\0" in file:
            raise MissingError(f"{form.index} of {name} names {file[:80]!r}: weights are loaded from {form.ending} "
                               "files beside it only.")  # fmt: skip
    return files


def _is_there(path: Path) -> bool:
    """Whether there is a file or a link, of which `check_file` then says whether it leads anywhere."""
    return path.exists() or path.is_symlink()


def check_file(path: Path, folder: Path, name: str) -> None:
    """MissingError for a file that is absent, is a git-lfs pointer, or is a link to somewhere else.

    The hub's cache keeps files in a folder `blobs` beside `snapshots`, and links there are followed.
    """
    if not os.path.isfile(path):  # False also for a name that no file can have
        raise MissingError(f"{path.name[:80]} of {name} is missing ({folder}); fetch it again.")
    target, root = path.resolve(), folder.resolve()
    blobs = root.parents[1] / "blobs" if root.parent.name == "snapshots" else root
    if not (target.is_relative_to(root) or target.is_relative_to(blobs)):
        raise MissingError(f"{path.name} of {name} is a link to {target}, outside its folder: put the file itself "
                           "there.")  # fmt: skip
    if is_pointer(path):
        raise MissingError(f"{path.name} of {name} is only a git-lfs pointer, not the file: run `git lfs pull` in "
                           f"{folder}, or fetch it again with `hf download`.")  # fmt: skip


def check_settings(folder: Path, name: str) -> None:
    """`check_file` for all files beside the weights that are there."""
    for file in SETTINGS:
        if _is_there(folder / file):
            check_file(folder / file, folder, name)


def is_pointer(path: Path) -> bool:
    """Whether a file is what git-lfs leaves in place of a large one; MissingError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(_POINTER)) == _POINTER
    except OSError as error:
        raise MissingError(f"{path} cannot be read ({error.strerror}).") from error


def read_json(path: Path, folder: Path, name: str) -> dict[str, Any]:
    """The object in a JSON file of a checkpoint; MissingError for anything else, and for what `check_file` refuses."""
    check_file(path, folder, name)
    if path.stat().st_size > MAX_JSON_BYTES:
        raise MissingError(f"{path.name} of {name} has more than {MAX_JSON_BYTES >> 20} MiB; fetch it again.")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise MissingError(
            f"the {path.name} of {name} cannot be read ({_first_line(error)}); fetch it again."
        ) from error
    if not isinstance(content, dict):
        raise MissingError(f"the {path.name} of {name} cannot be read (it is no JSON object); fetch it again.")
    return content


def tensor_headers(files: Iterable[Path], name: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Dtype and shape of every tensor in safetensors files, from their headers; nothing else is read."""
    headers: dict[str, tuple[str, tuple[int, ...]]] = {}
    for path in files:
        try:
            header = json.loads(_header(path))
            headers |= {key: (str(entry["dtype"]), tuple(map(int, entry["shape"]))) for key, entry in header.items()
                        if key != "__metadata__"}  # fmt: skip
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
            raise MissingError(f"the weights of {name} cannot be read ({path.name}: {_first_line(error)}); fetch them "
                               "again.") from error  # fmt: skip
    return headers


def _header(path: Path) -> bytes:
    """The header of a safetensors file; ValueError where the file is too short for what it says."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > min(MAX_HEADER_BYTES, path.stat().st_size - 8):
            raise ValueError("it is no safetensors file, or was cut")
        return file.read(size)


def settings_digest(folder: Path) -> str:
    """sha256, in hexadecimal digits, over the files that `SETTINGS` names, as far as they are there."""
    lines = [f"{name} {_hash(folder / name)}" for name in SETTINGS if (folder / name).is_file()]
    return sha256("\n".join(lines).encode()).hexdigest()


def weights_digest(files: Iterable[Path]) -> str:
    """sha256 over the weight files, with "sized:" in front where one counts by size, time and header."""
    parts = [f"{path.name} {file_digest(path)}" for path in sorted(files)]
    kind = "sized" if any(" sized:" in part for part in parts) else "sha256"
    return f"{kind}:{sha256(chr(10).join(parts).encode()).hexdigest()}"


def file_digest(path: Path) -> str:
    """The file's sha256; for files over 1 GiB the name of the hub's blob, or their size, time and header."""
    target = path.resolve()
    status = target.stat()
    if status.st_size <= SIZED_FROM:
        return _hash(path)
    if target.parent.name == "blobs" and len(target.name) == 64 and set(target.name) <= set("0123456789abcdef"):
        return target.name
    return f"sized:{status.st_size}:{status.st_mtime_ns}:{sha256(_header(target)).hexdigest()}"


def _hash(path: Path) -> str:
    status = path.stat()
    return _hash_of_version(path.resolve(), status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@lru_cache(maxsize=256)
def _hash_of_version(path: Path, size: int, modified: int, changed: int) -> str:
    """sha256 of a file; size and times name the version of the file whose hash is remembered."""
    with path.open("rb") as file:
        digest = sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:160]
