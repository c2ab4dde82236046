"""Loading a Janus checkpoint: from a folder or the hub, natively, safetensors only, and every failure one sentence."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from transformers import JanusForConditionalGeneration, PreTrainedTokenizerFast

from milr.models.checkpoint_errors import reading
from milr.models.quantised import warm_up_layers
from milr.types import MissingError, UsageError

SPECIAL_TOKENS = {
    "begin": "<｜begin▁of▁sentence｜>",
    "end": "<｜end▁of▁sentence｜>",
    "pad": "<｜▁pad▁｜>",
    "begin_image": "<begin_of_image>",
    "end_image": "<end_of_image>",
    "placeholder": "<image_placeholder>",
}
_GIGABYTE = 1 << 30
_HUB_FILES = ["*.json", "*.safetensors", "tokenizer*"]
_HUB_NAME = re.compile(r"\w[\w.-]*/[\w.-]+")
_HUB_BLOB = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class SpecialIds:
    """The ids of Janus's special tokens, looked up in the tokenizer by their strings."""

    begin: int
    end: int
    pad: int
    begin_image: int
    end_image: int
    placeholder: int

    @staticmethod
    def of(tokenizer: Any) -> SpecialIds:
        """The ids of Janus's special tokens in this tokenizer; MissingError where it has not all of them."""
        vocabulary = tokenizer.get_vocab()
        missing = [token for token in SPECIAL_TOKENS.values() if token not in vocabulary]
        if missing:
            raise MissingError(f"the tokenizer has no {', '.join(missing)}; use the tokenizer of a Janus checkpoint.")
        return SpecialIds(**{name: vocabulary[token] for name, token in SPECIAL_TOKENS.items()})


@dataclass(frozen=True)
class Checkpoint:
    """A local folder with a Janus checkpoint, under the name the user gave."""

    name: str
    folder: Path

    @staticmethod
    def find(folder_or_name: str | Path) -> Checkpoint:
        """A folder as it is; a hub name from the cache or the network."""
        name, folder = str(folder_or_name), Path(folder_or_name).expanduser()
        if not folder.is_dir():
            folder = _from_hub(name)
        if not (folder / "config.json").is_file():
            raise MissingError(f"{name} holds no config.json; name a folder or hub repository with a Janus checkpoint.")
        return Checkpoint(name, folder)

    @cached_property
    def digest(self) -> str:
        """sha256 over the weight files; files over 1 GB that are not hub blobs count by size, time and header."""
        files = sorted(self.folder.glob("*.safetensors"))
        parts = [f"{path.name} {_file_digest(path)}" for path in files]
        kind = "sized" if any(" sized:" in part for part in parts) else "sha256"
        return f"{kind}:{sha256(chr(10).join(parts).encode()).hexdigest()}"

    def tokenizer(self) -> Any:
        """The tokenizer, exactly as tokenizer.json describes it."""
        if not (self.folder / "tokenizer.json").is_file():
            raise MissingError(f"{self.name} holds no tokenizer.json; copy the one of the Janus checkpoint there.")
        with reading(f"the tokenizer of {self.name}"):
            return PreTrainedTokenizerFast.from_pretrained(self.folder, clean_up_tokenization_spaces=False)

    def network(self, *, dtype: torch.dtype, device: str, quantisation: Any = None) -> Any:
        """The frozen network in evaluation mode; with a `quantisation`, weights go to the device in fewer bits."""
        self._check_config()
        quantised = {"quantization_config": quantisation, "device_map": device} if quantisation else {}
        with reading(f"the weights of {self.name}"):
            network_and_info: Any = JanusForConditionalGeneration.from_pretrained(
                self.folder,
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                **quantised,
            )
        network, info = network_and_info
        for kind in ("missing", "unexpected"):
            if keys := sorted(map(str, info[f"{kind}_keys"])):
                raise MissingError(
                    f"the weights of {self.name} have {len(keys)} {kind} tensors ({keys[0]}, ...); fetch them again."
                )
        network = network.requires_grad_(False).eval().to(device)
        if quantisation:
            warm_up_layers(network)
        return network

    def _check_config(self) -> None:
        with reading(f"the config.json of {self.name}"):
            kind = json.loads((self.folder / "config.json").read_text()).get("model_type")
        if kind != "janus":
            raise MissingError(f"{self.name} is a {kind} checkpoint; milr needs a Janus one in transformers' form.")


def choose_device(device: str) -> str:
    """`auto` is cuda where there is one, else the CPU; mps must be asked for by name and is untested."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind = device.split(":")[0]
    usable = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not usable.get(kind, False):
        raise UsageError(f"the device {device!r} is not available here; use --device cpu or auto.")
    return device


def choose_dtype(dtype: str, device: str) -> torch.dtype:
    """`auto` is bfloat16 on cuda and float32 elsewhere."""
    if dtype == "auto":
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype not in dtypes:
        raise UsageError(f"the dtype {dtype!r} is unknown; use auto, float32, bfloat16 or float16.")
    return dtypes[dtype]


def _from_hub(name: str) -> Path:
    if not _HUB_NAME.fullmatch(name):
        raise MissingError(f"there is no folder {name}; name a folder with a Janus checkpoint or a hub repository.")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except Exception as error:  # the hub's many errors share no base; each means that the files are not here
        raise MissingError(
            f"{name} is neither a folder nor available from the hub ({type(error).__name__}); "
            "download it where there is a network, then give the folder, or use --model nano."
        ) from error


def _file_digest(path: Path) -> str:
    """The file's sha256, which is the name of a hub blob; for other files over 1 GB their size, time and header."""
    file_path = path.resolve()
    if _HUB_BLOB.fullmatch(file_path.name):
        return file_path.name
    status = file_path.stat()
    with file_path.open("rb") as file:
        if status.st_size <= _GIGABYTE:
            return sha256(file.read()).hexdigest()
        header = file.read(int.from_bytes(file.read(8), "little"))
    return f"sized:{status.st_size}:{status.st_mtime_ns}:{sha256(header).hexdigest()}"
