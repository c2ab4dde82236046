"""`milr convert`: reads a checkpoint in DeepSeek's form, renames every weight, and writes what transformers reads."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import JanusForConditionalGeneration, JanusImageProcessorPil, JanusProcessor, PreTrainedTokenizerFast
from transformers.initialization import no_init_weights

from milr.models.checkpoint_errors import reading
from milr.models.checkpoint_files import (
    PICKLES,
    SAFETENSORS,
    check_settings,
    find_weight_files,
    read_json,
    tensor_headers,
    weight_files,
)
from milr.models.conversion.config import converted_config
from milr.models.conversion.keys import new_keys
from milr.models.finite import is_finite
from milr.models.janus_config import read_config
from milr.models.loading import SPECIAL_TOKENS, SpecialIds, find_folder
from milr.types import MissingError, UsageError

SHARD_SIZE = "4GB"
HUB_FILES = ["*.json", "*.safetensors", "*.bin", "tokenizer*"]
_IMAGE_SETTINGS = ("do_normalize", "do_rescale", "image_mean", "image_std", "min_size", "rescale_factor", "resample")


@dataclass(frozen=True)
class Conversion:
    """What was written: the folder, how many weights, and how many bytes they have."""

    folder: Path
    num_tensors: int
    num_bytes: int


def convert(source: str | Path, folder: Path) -> Conversion:
    """Write the Janus in DeepSeek's form that `source` names (a folder or hub repository) to the new `folder`.

    Every weight is accounted for, and names, shapes and values are checked. MissingError, in one sentence, for a source
    that is no such checkpoint; UsageError for a folder that holds something or cannot be written. A conversion that
    fails leaves nothing behind.
    """
    folder = folder.expanduser()
    name, source_folder = find_folder(source, HUB_FILES)
    content = read_json(source_folder / "config.json", source_folder, name)
    if content.get("model_type") == "janus":
        raise UsageError(f"{name} is in transformers' form already; use it as it is: --model {name}.")
    if content.get("model_type") != "multi_modality":
        raise MissingError(f"{name} is a {str(content.get('model_type'))[:40]} checkpoint, and no Janus in DeepSeek's "
                           "form (multi_modality).")  # fmt: skip
    with reading(f"the checkpoint {name}", "fetch it again"), _new_folder(folder) as unfinished:
        tokenizer = _tokenizer(source_folder, name)
        ids = SpecialIds.of(tokenizer)
        weights = _converted(_read_weights(source_folder, name), name)
        shapes = {key: tuple(weight.shape) for key, weight in weights.items()}
        with reading(f"the checkpoint {name}", "it lacks what a Janus in DeepSeek's form has"):
            config = converted_config(content, shapes, vars(ids))
        _check_space(weights, folder)
        _write_network(config, weights, ids, unfinished)
        _write_processor(source_folder, name, config, tokenizer, unfinished)
        read_config(unfinished, str(folder), tensor_headers(weight_files(unfinished, str(folder)), str(folder)))
    return Conversion(folder, len(weights), _num_bytes(weights))


def _read_weights(folder: Path, name: str) -> dict[str, Tensor]:
    """All weights: from safetensors where there are any, else from pickles, of which nothing but tensors is read."""
    files = find_weight_files(folder, name, SAFETENSORS) or find_weight_files(folder, name, PICKLES)
    if not files:
        raise MissingError(f"{name} holds no weights: neither {SAFETENSORS.single} nor {PICKLES.single}, and no index "
                           "of either.")  # fmt: skip
    weights: dict[str, Tensor] = {}
    for path in files:
        with reading(f"{path.name} of {name}", "it is damaged, or holds more than tensors, which is not read"):
            content: Any = load_file(path) if path.suffix == ".safetensors" else _read_pickle(path)
        if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
            raise MissingError(f"{path.name} of {name} holds something else than weights by name.")
        weights |= {str(key): value for key, value in content.items()}
    return weights


def _read_pickle(path: Path) -> Any:
    """The tensors of a pickle, read by torch's unpickler for tensors alone; from an archive, only as they are used."""
    with path.open("rb") as file:
        is_archive = file.read(2) == b"PK"
    return torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)


def _converted(weights: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The weights under their new names; MissingError for values that are no numbers, and where two have one name."""
    converted: dict[str, Tensor] = {}
    for key, weight in weights.items():
        keys = new_keys(key)
        if not is_finite(weight):
            raise MissingError(
                f"the weight {key} of {name} holds values that are infinite or no numbers; fetch it again."
            )
        if len(keys) > 1 and (not weight.ndim or len(weight) % len(keys)):
            raise MissingError(f"the weight {key} of {name} has no three equal parts; fetch it again.")
        parts = [part.clone() for part in weight.chunk(len(keys))] if len(keys) > 1 else [weight] * len(keys)
        for new_key, part in zip(keys, parts, strict=True):
            if new_key in converted:
                raise MissingError(f"two weights of {name} are {new_key} in transformers' form; fetch it again.")
            converted[new_key] = part[0] if "position_embedding" in new_key and part.ndim == 3 else part
    return converted


def _tokenizer(folder: Path, name: str) -> Any:
    if not (folder / "tokenizer.json").exists():
        raise MissingError(f"{name} holds no tokenizer.json; copy the one of its repository there.")
    check_settings(folder, name)
    images = {"image_token": SPECIAL_TOKENS["placeholder"], "boi_token": SPECIAL_TOKENS["begin_image"],
              "eoi_token": SPECIAL_TOKENS["end_image"]}  # fmt: skip
    with reading(f"the tokenizer of {name}"):
        return PreTrainedTokenizerFast.from_pretrained(
            folder, bos_token=SPECIAL_TOKENS["begin"], eos_token=SPECIAL_TOKENS["end"],
            pad_token=SPECIAL_TOKENS["pad"], extra_special_tokens=images, clean_up_tokenization_spaces=False,
            local_files_only=True,
        )  # fmt: skip


def _write_network(config: Any, weights: dict[str, Tensor], ids: SpecialIds, folder: Path) -> None:
    """Weights, config.json and generation_config.json; MissingError where weights and configuration do not fit."""
    with torch.device("meta"), no_init_weights():
        network = JanusForConditionalGeneration(config)
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    if wrong := sorted(expected.keys() ^ weights.keys()):
        kind = "lacks" if wrong[0] in expected else "has one weight too many,"
        raise MissingError(
            f"the checkpoint {kind} {wrong[0]} (in transformers' naming; {len(wrong)} in all do not fit)."
        )
    for key, shape in expected.items():
        if tuple(weights[key].shape) != shape:
            raise MissingError(f"{key} has the shape {tuple(weights[key].shape)}, and its config.json says {shape}.")
    network.load_state_dict(weights, strict=True, assign=True)
    settings = network.generation_config
    settings.bos_token_id, settings.eos_token_id, settings.pad_token_id = ids.begin, ids.end, ids.pad
    settings.generation_kwargs, settings._from_model_config = {"boi_token_id": ids.begin_image}, False
    network.save_pretrained(folder, max_shard_size=SHARD_SIZE)


def _write_processor(source: Path, name: str, config: Any, tokenizer: Any, folder: Path) -> None:
    """The tokenizer's files, and how pictures are prepared."""
    file = source / "preprocessor_config.json"
    settings = read_json(file, source, name) if file.exists() else {}
    side = int(settings.get("image_size", config.vision_config.image_size))
    chosen = {key: settings[key] for key in _IMAGE_SETTINGS if key in settings}
    images = JanusImageProcessorPil(size={"height": side, "width": side}, **chosen)
    JanusProcessor(images, tokenizer, num_image_tokens=config.vision_config.num_image_tokens).save_pretrained(folder)


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` to write into, which takes its place when the block ends, and is removed if it fails."""
    unfinished = None
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} holds something already; name a new folder.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name[:40]}-", dir=folder.parent))
        unfinished.chmod(0o755)
        yield unfinished
        if folder.exists():
            folder.rmdir()
        unfinished.rename(folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{folder} cannot be written ({reason}); name another folder.") from error
    finally:
        if unfinished:
            shutil.rmtree(unfinished, ignore_errors=True)


def _check_space(weights: Mapping[str, Tensor], folder: Path) -> None:
    """UsageError where the disk does not hold the weights once more."""
    needed, free = _num_bytes(weights), shutil.disk_usage(folder.parent).free
    if needed > free:
        raise UsageError(f"{folder} would need {_gigabytes(needed)} and {_gigabytes(free)} are free there; name a "
                         "folder on another disk.")  # fmt: skip


def _num_bytes(weights: Mapping[str, Tensor]) -> int:
    return sum(math.prod(weight.shape) * weight.element_size() for weight in weights.values())


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
