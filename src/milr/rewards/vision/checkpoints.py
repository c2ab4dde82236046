"""How the checkpoints that judges need are located, fetched and loaded; safetensors only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import constants, snapshot_download
from transformers import AutoConfig, AutoProcessor, AutoTokenizer
from transformers.image_processing_base import ImageProcessingMixin
from transformers.initialization import no_init_weights

from milr.models.checkpoint_errors import quiet, reading
from milr.models.checkpoint_files import (
    check_settings,
    read_json,
    settings_digest,
    tensor_headers,
    weight_files,
    weights_digest,
)
from milr.models.config_checks import Headers, check_values
from milr.models.devices import choose_device
from milr.models.finite import check_weights
from milr.models.hub_names import is_hub_name, plain_name
from milr.models.loading import is_folder, open_tensors, read_generation_config
from milr.rewards.vision.pinned import CHECKPOINTS
from milr.types import MissingError

_SMALL_FILES = ["*.json", "*.txt", "*.model", "*.jinja"]
_WEIGHT_FILES = "*.safetensors"


def load_network(
    model_class: Any, name: str, *, device: str = "auto", dtype: Any = torch.float32, **settings: Any
) -> Any:
    """A frozen network in evaluation mode: `model_class` from a folder, or from the hub at its pinned revision.

    `device` "auto" is cuda where there is one, else the CPU; `settings` go to `from_pretrained`. MissingError where
    the files are absent, damaged, not safetensors, or lack parameters (which would be random numbers).
    """
    device = choose_device(device)
    folder = _folder_with_weights(name)
    files = weight_files(folder, name)
    headers = tensor_headers(files, name)
    check_values(read_json(folder / "config.json", folder, name), headers, name)
    with reading(f"the weights of {name}"), open_tensors(files) as tensors:
        config = model_class.config_class.from_pretrained(folder, local_files_only=True)
        _check_size(model_class, config, headers, name)
        network, info = model_class.from_pretrained(
            None, config=config, state_dict=tensors, dtype=_resolve_dtype(dtype, config, headers),
            output_loading_info=True, **settings,
        )  # fmt: skip
        missing = sorted({key for key, _ in network.named_parameters()} & set(info["missing_keys"]))
        if missing:
            raise MissingError(f"the weights of {name} lack {len(missing)} tensors ({missing[0]}, ...); fetch them "
                               "again.")  # fmt: skip
        network = network.requires_grad_(False).eval().to(device)
        check_weights(network, name)
        if network.can_generate():
            network.generation_config = read_generation_config(folder)
    return network


def _check_size(model_class: Any, config: Any, headers: Headers, name: str) -> None:
    """MissingError for a configuration of more than twice the numbers that the weights hold, before memory is taken."""
    with torch.device("meta"), no_init_weights():
        needed = sum(parameter.numel() for parameter in model_class(config).parameters())
    available = sum(torch.Size(shape).numel() for _, shape in headers.values())
    if needed > 2 * available:
        raise MissingError(f"the config.json of {name} describes {needed} weights and its files hold {available}; "
                           "fetch them again.")  # fmt: skip


def _resolve_dtype(dtype: Any, config: Any, headers: Headers) -> Any:
    """`dtype`, or for "auto" that of the configuration, or of the first floating-point tensor where it says none."""
    if dtype != "auto":
        return dtype
    by_name = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    first = next((by_name[kind] for kind, _ in headers.values() if kind in by_name), torch.float32)
    return getattr(config, "dtype", None) or first


def load_tokenizer(name: str) -> Any:
    """The tokenizer of a folder, or of a hub repository at its pinned revision, whose weights are not fetched."""
    folder = _folder(name, _SMALL_FILES)
    with reading(f"the tokenizer of {name}"):
        check_settings(folder, name)
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def load_image_processor(name: str) -> Any:
    """The image processor of a folder or repository, always the Pillow one: torchvision's resizes a bit differently."""
    folder = _folder(name, _SMALL_FILES)
    with reading(f"the image processor of {name}"):
        check_settings(folder, name)
        return _pillow_class(folder).from_pretrained(folder, local_files_only=True)


def load_processor(name: str) -> Any:
    """The processor of a folder or repository: tokenizer, image processor and chat template in one."""
    folder = _folder(name, _SMALL_FILES)
    with reading(f"the processor of {name}"):
        check_settings(folder, name)
        return AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def image_text_class(name: str) -> Any:
    """transformers' class of a vision-language model by its configuration; MissingError where there is none."""
    folder = _folder(name, _SMALL_FILES)
    with reading(f"the configuration of {name}"):
        check_settings(folder, name)
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    mapping = transformers.AutoModelForImageTextToText._model_mapping
    if type(config) not in mapping:
        raise MissingError(f"{name} ({config.model_type}) is no vision-language model that transformers has a class "
                           "for: name another with --judge-model.")  # fmt: skip
    return mapping[type(config)]


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
    """What tells two versions of a checkpoint apart: the commit in the hub's cache, or a hash of the files in the
    folder that stands for it."""
    folder = _local_folder(name)
    if folder is not None:
        weights = weights_digest(weight_files(folder, name)) if _revision_and_weights(name)[1] else "no weights"
        return f"folder {weights} {settings_digest(folder)}"
    revision, _ = _revision_and_weights(name)
    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True)).name
    except Exception:  # the client has many errors for a cache that lacks the repository
        return revision


def _local_folder(name: str) -> Path | None:
    """The folder `name`, or the one that stands for this repository under $MILR_CHECKPOINTS; None without either."""
    parent = os.environ.get("MILR_CHECKPOINTS")
    candidates = [*([Path(parent) / name] if parent else []), Path(name).expanduser()]
    return next((folder for folder in candidates if is_folder(folder)), None)


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


def _folder(name: str, patterns: list[str]) -> Path:
    """The local folder of a checkpoint, or the hub's or its cache's files that match `patterns`."""
    folder = _local_folder(name)
    if folder is not None:
        return folder
    name = plain_name(name)
    if not is_hub_name(name):
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
