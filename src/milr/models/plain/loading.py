"""Reading a checkpoint without transformers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file

from milr.models.checkpoint_errors import explained
from milr.models.checkpoint_files import check_settings, read_json, tensor_headers
from milr.models.config_checks import check_values
from milr.models.devices import prepare_cuda
from milr.models.finite import is_finite
from milr.models.loading import Checkpoint
from milr.models.plain.network import PlainJanus
from milr.models.plain.tokenizer import PlainTokenizer
from milr.types import MissingError

UNUSED = ("model.vqmodel.encoder.", "model.vqmodel.quant_conv.")  # what turns pictures into image tokens
KNOWN = {
    "text_config": {"model_type": "llama", "hidden_act": "silu", "attention_bias": False, "mlp_bias": False,
                    "tie_word_embeddings": False},
    "vision_config": {"hidden_act": "gelu", "use_qk_norm": False},
    "vq_config": {"hidden_act": "gelu", "double_latent": False},
}  # fmt: skip
"""What a configuration must say so that `PlainJanus` computes it."""


def is_plain(checkpoint: Checkpoint) -> bool:
    """Whether `PlainJanus` computes what the checkpoint's configuration describes."""
    content = read_json(checkpoint.folder / "config.json", checkpoint.folder, checkpoint.name)
    parts: dict[str, Any] = {part: content.get(part) for part in KNOWN}
    if not all(isinstance(part, dict) for part in parts.values()):
        return False
    rope = parts["text_config"].get("rope_parameters") or {}
    said = [parts[part].get(key) == value for part, known in KNOWN.items() for key, value in known.items()]
    return rope.get("rope_type") == "default" and all(said)


def read_plain(checkpoint: Checkpoint, *, dtype: torch.dtype, device: str) -> tuple[PlainTokenizer, PlainJanus]:
    """The tokenizer and the frozen network of a plain checkpoint; MissingError for damaged files."""
    if device.startswith("cuda"):
        prepare_cuda()
    folder, name = checkpoint.folder, checkpoint.name
    check_settings(folder, name)
    content = read_json(folder / "config.json", folder, name)
    check_values(content, tensor_headers(checkpoint.weight_files, name), name)
    with explained(f"the tokenizer of {name}"):
        settings = read_json(folder / "tokenizer_config.json", folder, name)
        tokenizer = PlainTokenizer(folder / "tokenizer.json", settings.get("unk_token"))
    with explained(f"the weights of {name}"):
        network = _network(checkpoint, content)
        return tokenizer, network.requires_grad_(False).eval().to(device=device, dtype=dtype)


def _network(checkpoint: Checkpoint, content: dict[str, Any]) -> PlainJanus:
    weights = {key: tensor for file in checkpoint.weight_files for key, tensor in load_file(file).items()}
    damaged = next((key for key, tensor in weights.items() if not is_finite(tensor)), None)
    if damaged is not None:
        raise MissingError(f"the weights of {checkpoint.name} are damaged: {damaged} holds values that are infinite or "
                           "no numbers; fetch them again.")  # fmt: skip
    config = SimpleNamespace(**content | {part: SimpleNamespace(**content[part]) for part in KNOWN})
    with torch.random.fork_rng(devices=[]):  # first values, which the weights replace, take no numbers of others
        network = PlainJanus(config)
    network.load_state_dict({key: tensor for key, tensor in weights.items() if not key.startswith(UNUSED)})
    return network
