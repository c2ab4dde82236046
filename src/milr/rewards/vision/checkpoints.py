"""How the checkpoints that judges need are located, fetched and loaded; safetensors only."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import constants, snapshot_download
from transformers import AutoTokenizer
from transformers.image_processing_base import ImageProcessingMixin

from milr.models.checkpoint_errors import quiet, reading
from milr.rewards.vision.pinned import CHECKPOINTS
from milr.types import MissingError, UsageError

_HUB_NAME = re.compile(r"\w[\w.-]*/[\w.-]+")
_SMALL_FILES = ["*.json", "*.txt", "*.model", "*.jinja"]
_WEIGHT_FILES = "*.safetensors"


def load_network(
    model_class: Any, name: str, *, device: str = "auto", dtype: Any = torch.float32, **settings: Any
) -> Any:
    """A frozen network in evaluation mode: `model_class` from a folder, or from the hub at its pinned revision.

    `device` "auto" is cuda where there is one, else the CPU; `settings` go to `from_pretrained`. MissingError where
    the files are absent, damaged, not safetensors, or lack parameters (which would be random numbers).
    """
    device = _resolve_device(device)
    folder = _folder_with_weights(name)
    with reading(f"the weights of {name}"):
        network, info = model_class.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True, **settings
        )
    missing = sorted({key for key, _ in network.named_parameters()} & set(info["missing_keys"]))
    if missing:
        raise MissingError(f"the weights of {name} lack {len(missing)} tensors ({missing[0]}, ...); fetch them again.")
    return network.requires_grad_(False).eval().to(device)


def load_tokenizer(name: str) -> Any:
    """The tokenizer of a folder, or of a hub repository at its pinned revision, whose weights are not fetched."""
    folder = _folder(name, _SMALL_FILES)
    with reading(f"the tokenizer of {name}"):
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def load_image_processor(name: str) -> Any:
    """The image processor of a folder or repository, always the Pillow one: torchvision's resizes a bit differently."""
    folder = _folder(name, _SMALL_FILES)
    with reading(f"the image processor of {name}"):
        return _pillow_class(folder).from_pretrained(folder, local_files_only=True)


def _pillow_class(folder: Path) -> Any:
    """Found by name: before transformers 5.23 AutoImageProcessor needs torchvision even to load a Pillow class."""
    config, _ = ImageProcessingMixin.get_image_processor_dict(folder, local_files_only=True)
    kind = config.get("image_processor_type") or config["feature_extractor_type"]
    kind = kind.replace("FeatureExtractor", "ImageProcessor").replace("Qwen2_5_VL", "Qwen2VL")  # names of old files
    return getattr(transformers, kind.removesuffix("Fast").removesuffix("Pil") + "Pil")


def is_here(name: str) -> bool:
    """Whether a folder or the hub's cache holds the files of a checkpoint, judged by their names without a network."""
    folder, (revision, weights) = _local_folder(name), _revision_and_weights(name)
    try:
        folder = folder or Path(snapshot_download(name, revision=revision, local_files_only=True))
    except Exception:  # the client has many errors for a cache that lacks the repository
        return False
    return (folder / "config.json").is_file() and (not weights or any(folder.glob(_WEIGHT_FILES)))


def fetch(name: str) -> None:
    """Download the files of a checkpoint that are used into the hub's cache; MissingError where that fails."""
    _, weights = _revision_and_weights(name)
    if weights:
        _folder_with_weights(name)
    else:
        _folder(name, _SMALL_FILES)


def loaded_revision(name: str) -> str:
    """What tells two versions of a checkpoint apart: the commit in the hub's cache, or the folder in its place."""
    folder = _local_folder(name)
    if folder is not None:
        return f"folder {folder}"
    revision, _ = _revision_and_weights(name)
    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True)).name
    except Exception:  # the client has many errors for a cache that lacks the repository
        return revision


def _local_folder(name: str) -> Path | None:
    """The folder `name`, or the one that stands for this repository under $MILR_CHECKPOINTS; None without either."""
    parent = os.environ.get("MILR_CHECKPOINTS")
    candidates = [*([Path(parent) / name] if parent else []), Path(name).expanduser()]
    return next((folder for folder in candidates if folder.is_dir()), None)


def _revision_and_weights(name: str) -> tuple[str, bool]:
    """The revision of a hub repository, and whether its weights are used."""
    return (CHECKPOINTS[name].revision, CHECKPOINTS[name].weights) if name in CHECKPOINTS else ("main", True)


def _folder_with_weights(name: str) -> Path:
    folder = _folder(name, [*_SMALL_FILES, _WEIGHT_FILES])
    if not (folder / "config.json").is_file():
        raise MissingError(f"{name} holds no config.json ({folder}); name a folder with a whole checkpoint.")
    if not any(folder.glob(_WEIGHT_FILES)):
        raise MissingError(
            f"{name} holds no safetensors weights ({folder}); if its repository keeps them in a pull request only "
            f"(a revision such as refs/pr/1), fetch that one with `hf download {name} --revision refs/pr/1 --local-dir "
            f"FOLDER/{name}` and set MILR_CHECKPOINTS=FOLDER."
        )
    return folder


def _resolve_device(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise UsageError(f"the device {device!r} is not available here; use cpu or auto.") from None
    return device


def _folder(name: str, patterns: list[str]) -> Path:
    """The local folder of a checkpoint, or the hub's or its cache's files that match `patterns`."""
    folder = _local_folder(name)
    if folder is not None:
        return folder
    if not _HUB_NAME.fullmatch(name):
        raise MissingError(f"there is no folder {name}; name a folder with a checkpoint, or a hub repository.")
    revision, _ = _revision_and_weights(name)
    with quiet():
        try:
            return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
        except Exception as error:  # the hub's many errors share no base class; each means that it cannot be reached
            try:  # not every version of the client looks into its cache then
                return Path(snapshot_download(name, revision=revision, local_files_only=True))
            except Exception:
                raise MissingError(_absence(name, revision, type(error).__name__)) from error


def _absence(name: str, revision: str, reason: str) -> str:
    """The sentence about a checkpoint that is neither here nor at the hub."""
    size = f" ({CHECKPOINTS[name].size})" if name in CHECKPOINTS else ""
    cache_name = f"models--{name.replace('/', '--')}"
    return (
        f"{name}{size} is neither in the hub's cache nor can it be fetched from the hub ({reason}); run `hf download "
        f"{name} --revision {revision}` where there is a network, and copy its cache folder {cache_name} into "
        f"{constants.HF_HUB_CACHE} (or wherever HF_HUB_CACHE points)."
    )
