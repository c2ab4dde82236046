"""How the weights that judges need are found, fetched and loaded; safetensors only."""

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
_SMALL = ["*.json", "*.txt", "*.model", "*.jinja"]
_WEIGHTS = "*.safetensors"


def pretrained(
    model_class: Any, name: str, *, device: str = "auto", dtype: Any = torch.float32, **settings: Any
) -> Any:
    """A frozen network in evaluation mode: `model_class` from a folder, or from the hub at its pinned revision.

    `device` "auto" is cuda where there is one, else the CPU; `settings` go to `from_pretrained`. MissingError where
    the files are absent, damaged, not safetensors, or lack parameters (which would be random numbers).
    """
    place = _device(device)
    folder = _with_weights(name)
    with reading(f"the weights of {name}"):
        network, info = model_class.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True, **settings
        )
    absent = sorted({key for key, _ in network.named_parameters()} & set(info["missing_keys"]))
    if absent:
        raise MissingError(f"the weights of {name} lack {len(absent)} tensors ({absent[0]}, ...); fetch them again.")
    return network.requires_grad_(False).eval().to(place)


def tokenizer(name: str) -> Any:
    """The tokenizer of a folder or of a hub repository at its pinned revision; its weights are not fetched."""
    folder = _folder(name, _SMALL)
    with reading(f"the tokenizer of {name}"):
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def image_processor(name: str) -> Any:
    """Likewise the image processor, always the Pillow one: torchvision's resizes a little differently."""
    folder = _folder(name, _SMALL)
    with reading(f"the image processor of {name}"):
        return _pillow_class(folder).from_pretrained(folder, local_files_only=True)


def _pillow_class(folder: Path) -> Any:
    """By name: before transformers 5.23 AutoImageProcessor needs torchvision even to load a Pillow class."""
    told, _ = ImageProcessingMixin.get_image_processor_dict(folder, local_files_only=True)
    kind = told.get("image_processor_type") or told["feature_extractor_type"]
    kind = kind.replace("FeatureExtractor", "ImageProcessor").replace("Qwen2_5_VL", "Qwen2VL")  # names of old files
    return getattr(transformers, kind.removesuffix("Fast").removesuffix("Pil") + "Pil")


def is_here(name: str) -> bool:
    """Whether a folder or the hub's cache holds what is used of a checkpoint, as far as names tell; asks no network."""
    folder, (revision, weights) = _own_folder(name), _wanted(name)
    try:
        folder = folder or Path(snapshot_download(name, revision=revision, local_files_only=True))
    except Exception:  # the client has many errors for a cache without it
        return False
    return (folder / "config.json").is_file() and (not weights or any(folder.glob(_WEIGHTS)))


def fetch(name: str) -> None:
    """Download what is used of a checkpoint into the hub's cache; MissingError where that fails."""
    if _wanted(name)[1]:
        _with_weights(name)
    else:
        _folder(name, _SMALL)


def loaded_revision(name: str) -> str:
    """What tells two versions of a checkpoint apart: the commit in the hub's cache, or whose folder is used."""
    folder = _own_folder(name)
    if folder is not None:
        return f"folder {folder}"
    revision, _ = _wanted(name)
    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True)).name
    except Exception:  # the client has many errors for a cache without it
        return revision


def _own_folder(name: str) -> Path | None:
    """A folder that is named itself, or that stands for a repository under $MILR_CHECKPOINTS."""
    under = os.environ.get("MILR_CHECKPOINTS")
    places = [*([Path(under) / name] if under else []), Path(name).expanduser()]
    return next((place for place in places if place.is_dir()), None)


def _wanted(name: str) -> tuple[str, bool]:
    """The revision of a hub repository, and whether its weights are used."""
    return (CHECKPOINTS[name].revision, CHECKPOINTS[name].weights) if name in CHECKPOINTS else ("main", True)


def _with_weights(name: str) -> Path:
    folder = _folder(name, [*_SMALL, _WEIGHTS])
    if not (folder / "config.json").is_file():
        raise MissingError(f"{name} holds no config.json ({folder}); name a folder with a whole checkpoint.")
    if not any(folder.glob(_WEIGHTS)):
        raise MissingError(
            f"{name} holds no safetensors weights ({folder}); if its repository keeps them in a pull request only "
            f"(a revision such as refs/pr/1), fetch that one with `hf download {name} --revision refs/pr/1 --local-dir "
            f"FOLDER/{name}` and set MILR_CHECKPOINTS=FOLDER."
        )
    return folder


def _device(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise UsageError(f"the device {device!r} is not available here; use cpu or auto.") from None
    return device


def _folder(name: str, patterns: list[str]) -> Path:
    """A folder as it is; a hub name from the hub or its cache."""
    folder = _own_folder(name)
    if folder is not None:
        return folder
    if not _HUB_NAME.fullmatch(name):
        raise MissingError(f"there is no folder {name}; name a folder with a checkpoint, or a hub repository.")
    revision, _ = _wanted(name)
    with quiet():
        try:
            return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
        except Exception as error:  # the hub's many errors share no base; each means that it could not be asked
            try:  # not every version of the client looks into its cache then
                return Path(snapshot_download(name, revision=revision, local_files_only=True))
            except Exception:
                raise MissingError(_absent(name, revision, type(error).__name__)) from error


def _absent(name: str, revision: str, why: str) -> str:
    size = f" ({CHECKPOINTS[name].size})" if name in CHECKPOINTS else ""
    cached = f"models--{name.replace('/', '--')}"
    return (
        f"{name}{size} is neither in the hub's cache nor to be had from the hub ({why}); run `hf download {name} "
        f"--revision {revision}` where there is a network, and copy its cache folder {cached} into "
        f"{constants.HF_HUB_CACHE} (or wherever HF_HUB_CACHE points)."
    )
