"""Loading a Janus checkpoint: from a folder or the hub, natively, safetensors only, and every failure one sentence.

transformers is loaded when something is asked of it: a small model does without it (`milr.models.plain`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open

from milr.models.checkpoint_errors import reading
from milr.models.checkpoint_files import (
    check_settings,
    read_json,
    settings_digest,
    tensor_headers,
    weight_files,
    weights_digest,
)
from milr.models.config_checks import check_kind
from milr.models.devices import prepare_cuda
from milr.models.finite import check_logits, check_weights
from milr.models.hub_names import is_hub_name, plain_name
from milr.models.quantised import warm_up_layers
from milr.types import MissingError

if TYPE_CHECKING:
    from transformers import GenerationConfig

SPECIAL_TOKENS = {
    "begin": "<｜begin▁of▁sentence｜>",
    "end": "<｜end▁of▁sentence｜>",
    "pad": "<｜▁pad▁｜>",
    "begin_image": "<begin_of_image>",
    "end_image": "<end_of_image>",
    "placeholder": "<image_placeholder>",
}
HUB_FILES = ["*.json", "*.safetensors", "tokenizer*"]


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
        """A folder as it is; a hub name, or its address, from the cache or the network."""
        name, folder = find_folder(folder_or_name, HUB_FILES)
        if not (folder / "config.json").is_file():
            reason = "is an adapter (LoRA)" if (folder / "adapter_config.json").is_file() else "holds no config.json"
            raise MissingError(f"{name} {reason}; name a folder or hub repository with a whole Janus checkpoint"
                               f"{' (peft: merge_and_unload, then save_pretrained)' if 'LoRA' in reason else ''}."
                               )  # fmt: skip
        return Checkpoint(name, folder)

    def check_kind(self) -> None:
        """MissingError, with what to do, where config.json is not that of a Janus in transformers' form."""
        check_kind(read_json(self.folder / "config.json", self.folder, self.name), self.name)

    @cached_property
    def weight_files(self) -> list[Path]:
        """The files that the weights are loaded from; none where there is no folder (a network made elsewhere)."""
        return weight_files(self.folder, self.name) if self.folder.is_dir() else []

    @cached_property
    def digest(self) -> str:
        """sha256 over the weight files; files over 1 GiB that are not hub blobs count by size, time and header."""
        return weights_digest(self.weight_files)

    @cached_property
    def settings_digest(self) -> str:
        """sha256 over configuration, tokenizer, processor and templates."""
        return settings_digest(self.folder)

    def tokenizer(self) -> Any:
        """The tokenizer, exactly as tokenizer.json describes it."""
        if not (self.folder / "tokenizer.json").exists():
            raise MissingError(f"{self.name} holds no tokenizer.json; copy the one of the Janus checkpoint there.")
        check_settings(self.folder, self.name)
        from transformers import PreTrainedTokenizerFast

        with reading(f"the tokenizer of {self.name}"):
            return PreTrainedTokenizerFast.from_pretrained(
                self.folder, clean_up_tokenization_spaces=False, local_files_only=True
            )

    def network(self, *, dtype: torch.dtype, device: str, quantisation: Any = None) -> Any:
        """The frozen network in evaluation mode; with a `quantisation`, weights go to the device in fewer bits.

        MissingError where the weights are not all here, do not fit the configuration, or are no numbers.
        """
        if device.startswith("cuda"):
            prepare_cuda()
        from transformers import JanusForConditionalGeneration

        from milr.models.janus_config import read_config

        config = read_config(self.folder, self.name, tensor_headers(self.weight_files, self.name))
        quantised = {"quantization_config": quantisation, "device_map": device} if quantisation else {}
        with reading(f"the weights of {self.name}"), open_tensors(self.weight_files) as tensors:
            network: Any = JanusForConditionalGeneration.from_pretrained(
                None, config=config, state_dict=tensors, dtype=dtype, **quantised
            )
            network = network.requires_grad_(False).eval().to(device)
            network.generation_config = read_generation_config(self.folder)
            check_weights(network, self.name)
            if quantisation:
                warm_up_layers(network)
            check_logits(network, [config.text_config.vocab_size - 1, 0], self.name)
        return network


def check_vocabulary(tokenizer: Any, vocab_size: int, name: str) -> None:
    """MissingError for a tokenizer that writes ids of `vocab_size` or more, which the network has no embeddings for."""
    token, largest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if largest >= vocab_size:
        raise MissingError(f"the tokenizer of {name} writes {token[:40]!r} as {largest}, and the model knows "
                           f"{vocab_size} tokens; use the tokenizer of the same checkpoint.")  # fmt: skip


def is_folder(path: Path) -> bool:
    """Whether there is a folder; False for a path that the system refuses."""
    try:
        return path.is_dir()
    except (OSError, ValueError):  # too long, or with a zero in it
        return False


@contextmanager
def open_tensors(files: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """The tensors in safetensors files by name, each read when it is asked for."""
    with ExitStack() as stack:
        opened = [stack.enter_context(safe_open(file, framework="pt", device="cpu")) for file in files]
        yield {key: file.get_slice(key) for file in opened for key in file.keys()}  # noqa: SIM118


def read_generation_config(folder: Path) -> GenerationConfig:
    """That of the folder; without a file of its own, what its config.json says."""
    from transformers import GenerationConfig

    if (folder / "generation_config.json").exists():
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    return GenerationConfig.from_pretrained(
        folder, config_file_name="config.json", _from_model_config=True, local_files_only=True
    )


def find_folder(folder_or_name: str | Path, patterns: Sequence[str]) -> tuple[str, Path]:
    """The plain name of a checkpoint and its folder: the folder itself, or that of the hub's cache, where files that
    match `patterns` are fetched first."""
    name, folder = plain_name(str(folder_or_name)), Path(folder_or_name)
    with suppress(RuntimeError):  # ~somebody who is not here
        folder = folder.expanduser()
    return name, folder if is_folder(folder) else _from_hub(name, patterns)


def _from_hub(name: str, patterns: Sequence[str]) -> Path:
    if not is_hub_name(name):
        raise MissingError(f"there is no folder {name[:200]}; name a folder with a Janus checkpoint or a hub "
                           "repository (owner/name).")  # fmt: skip
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except Exception as error:  # the hub's many errors share no base; each means that the files are not here
        raise MissingError(
            f"{name} is neither a folder nor available from the hub ({type(error).__name__}); "
            "download it where there is a network, then give the folder, or use --model nano."
        ) from error
