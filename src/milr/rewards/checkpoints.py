"""The weights that judges need: which revision, under which licence, how to load them; safetensors only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import constants, snapshot_download
from safetensors import SafetensorError
from transformers import AutoTokenizer
from transformers.image_processing_base import ImageProcessingMixin
from transformers.utils import logging

from milr.types import MissingError, UsageError


@dataclass(frozen=True)
class Pinned:
    """A hub repository at one revision, the licence of its weights, about how much is fetched, and what it is for.

    `weights` False: only its tokenizer and image processor are used.
    """

    revision: str
    licence: str
    size: str
    purpose: str
    weights: bool = True


# A commit hash below was found in several unrelated public repositories that pin or cache the same checkpoint (there is
# no network here to ask the hub itself). "main" stands where none could be found: put the hash there when it is known.
CHECKPOINTS = {
    # main; whether it holds safetensors is unknown
    "facebook/mask2former-swin-small-coco-instance": Pinned(
        "main", "CC BY-NC 4.0", "0.3 GB", "objects and masks for GenEval"),
    # main's commit, with model.safetensors
    "openai/clip-vit-large-patch14": Pinned(
        "32bd64288804d66eefd0ccbe215aa642df71cc41", "MIT", "1.7 GB", "colours for GenEval"),
    # main (3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268) holds a pickle only: this is the commit of refs/pr/66, the hub's
    # own conversion of it to safetensors
    "openai/clip-vit-base-patch32": Pinned(
        "c237dc49a33fc61debc9276459120b7eac67e7ef", "MIT", "0.6 GB", "CLIPScore"),
    # main; whether it holds safetensors is unknown
    "Salesforce/blip-vqa-capfilt-large": Pinned("main", "BSD-3-Clause", "1.5 GB", "BLIP-VQA for T2I-CompBench"),
    # main's commit, with model.safetensors
    "IDEA-Research/grounding-dino-tiny": Pinned(
        "a2bb814dd30d776dcf7e30523b00659f4f141c71", "Apache-2.0", "0.7 GB", "boxes of named objects"),
    # main; whether it holds safetensors is unknown
    "microsoft/git-large-vqav2": Pinned("main", "MIT", "1.6 GB", "yes/no questions of MixedReward"),
    # main; whether it holds safetensors is unknown
    "CodeGoat24/UnifiedReward-qwen-7b": Pinned("main", "MIT", "17 GB", "UnifiedReward"),
    # main's commit, with model.safetensors
    "yuvalkirstain/PickScore_v1": Pinned(
        "a4e4367c6dfa7288a00c550414478f865b875800", "not stated", "3.9 GB", "PickScore"),
    # main's commit
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": Pinned(
        "1c2b8495b28150b8a4922ee1c8edee224c284c0c", "MIT", "5 MB", "PickScore's inputs", weights=False),
}  # fmt: skip
_HUB_NAME = re.compile(r"\w[\w.-]*/[\w.-]+")
_SMALL = ["*.json", "*.txt", "*.model", "*.jinja"]
_WEIGHTS = "*.safetensors"
_DAMAGE = (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, ImportError, SafetensorError)


def pretrained(
    model_class: Any, name: str, *, device: str = "auto", dtype: Any = torch.float32, **settings: Any
) -> Any:
    """A frozen network in evaluation mode: `model_class` from a folder, or from the hub at its pinned revision.

    `device` "auto" is cuda where there is one, else the CPU; `settings` go to `from_pretrained`. MissingError where
    the files are absent, damaged, not safetensors, or lack parameters (which would be random numbers).
    """
    place = _device(device)
    folder = _with_weights(name)
    with _loading(f"the weights of {name}"):
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
    with _loading(f"the tokenizer of {name}"):
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def image_processor(name: str) -> Any:
    """Likewise the image processor, always the Pillow one: torchvision's resizes a little differently."""
    folder = _folder(name, _SMALL)
    with _loading(f"the image processor of {name}"):
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
    with _quiet():
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


@contextmanager
def _loading(subject: str) -> Iterator[None]:
    """Turn whatever absent or damaged files raise into one sentence."""
    try:
        with _quiet():
            yield
    except _DAMAGE as error:
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise MissingError(f"{subject} cannot be read ({reason}); fetch them again.") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar and no report from transformers; its settings are put back."""
    settings: Any = logging
    verbosity, bars = settings.get_verbosity(), settings.is_progress_bar_enabled()
    settings.set_verbosity_error()
    settings.disable_progress_bar()
    try:
        yield
    finally:
        settings.set_verbosity(verbosity)
        if bars:
            settings.enable_progress_bar()
