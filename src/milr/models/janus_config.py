"""A Janus checkpoint's configuration: read, bounded, and held against its weights, before any weight is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import JanusConfig, JanusForConditionalGeneration
from transformers.initialization import no_init_weights

from milr.models.checkpoint_errors import reading
from milr.models.checkpoint_files import read_json
from milr.models.config_checks import Headers, check_kind, check_values
from milr.types import MissingError

MAX_POSITIONS = 2**20  # of a sequence
_PARTS = ("text_config", "vision_config", "vq_config")


def read_config(folder: Path, name: str, headers: Headers) -> JanusConfig:
    """The configuration of a Janus, whose values fit its tensors; MissingError, in one sentence, for any other.

    `headers` are dtype and shape of every tensor of its weights; `name` is what errors call the checkpoint.
    """
    content = read_json(folder / "config.json", folder, name)
    check_kind(content, name)
    check_values(content, headers, name)
    if content.get("quantization_config") or content.get("transformers_weights"):
        raise MissingError(f"{name} holds quantised weights or names files of its own: take the plain checkpoint, and "
                           "choose --quantise when it is loaded.")  # fmt: skip
    for part in _PARTS:
        if not isinstance(content.get(part, {}), dict):
            raise MissingError(f"the config.json of {name} says no object as {part}; fetch it again.")
    with reading(f"the config.json of {name}", "fetch it again"):
        config = JanusConfig.from_dict(content)
        _check_tokens(config, name)
        network = _without_memory(config)
        _check_shapes(network, headers, name)
        _check_products(network, config, name)
    return config


def _check_tokens(config: Any, name: str) -> None:
    """MissingError for ids that the vocabulary has not, and for no room for a picture."""
    text, num_image_tokens = config.text_config, config.vq_config.num_patches**2
    if not 0 <= config.image_token_id < text.vocab_size:
        raise MissingError(f"the config.json of {name} says image_token_id {config.image_token_id} of "
                           f"{text.vocab_size} tokens; fetch it again.")  # fmt: skip
    if not num_image_tokens < text.max_position_embeddings <= MAX_POSITIONS:
        raise MissingError(f"the config.json of {name} says max_position_embeddings {text.max_position_embeddings}: a "
                           f"picture's {num_image_tokens} tokens and a prompt must fit, and at most {MAX_POSITIONS}."
                           )  # fmt: skip
    if not 0 < text.rms_norm_eps < 1:
        raise MissingError(f"the config.json of {name} says rms_norm_eps {text.rms_norm_eps}; fetch it again.")
    theta = (text.rope_parameters or {}).get("rope_theta", 0)
    if not theta > 0:
        raise MissingError(f"the config.json of {name} says rope_theta {theta}; fetch it again.")


def _without_memory(config: Any) -> Any:
    """The network on torch's meta device: shapes without memory."""
    with torch.device("meta"), no_init_weights():
        return JanusForConditionalGeneration(config).eval()


def _check_shapes(network: Any, headers: Headers, name: str) -> None:
    """MissingError where weights are missing, left over or of another shape than the configuration says."""
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    tied = {"lm_head.weight"} if network.config.tie_word_embeddings else set()
    for kind, keys in (("missing", expected.keys() - headers.keys() - tied),
                       ("unexpected", headers.keys() - expected.keys())):  # fmt: skip
        if keys:
            raise MissingError(f"the weights of {name} have {len(keys)} {kind} tensors ({min(keys)[:80]}, ...); fetch "
                               "them again.")  # fmt: skip
    for key, shape in expected.items():
        if key in headers and headers[key][1] != shape:
            raise MissingError(f"the weights of {name} do not fit its config.json: {key} has the shape "
                               f"{_shape(headers[key][1])}, and the configuration says {_shape(shape)}.")  # fmt: skip


@torch.no_grad()
def _check_products(network: Any, config: Any, name: str) -> None:
    """MissingError where the parts of the network do not fit each other; computed with shapes alone."""
    width, vision = config.text_config.hidden_size, config.vision_config
    num_image_tokens = config.vq_config.num_patches**2
    with torch.device("meta"):
        latents = torch.empty(1, 2, width)
        ids = torch.zeros(1, num_image_tokens, dtype=torch.long)
        shapes = {
            "text logits": (network.lm_head(latents).shape, (1, 2, config.text_config.vocab_size)),
            "image logits": (network.model.generation_head(latents).shape, (1, 2, config.vq_config.num_embeddings)),
            "image tokens": (network.prepare_embeddings_for_image_generation(ids).shape, (1, num_image_tokens, width)),
            "pictures": (network.decode_image_tokens(ids).shape[::3], (1, 3)),
            "picture features": (_picture_features(network, vision), (1, num_image_tokens, width)),
        }
    for what, (shape, expected) in shapes.items():
        if tuple(shape) != expected:
            raise MissingError(f"the config.json of {name} does not fit together: {what} have the shape "
                               f"{_shape(shape)}, and {_shape(expected)} is needed.")  # fmt: skip


def _picture_features(network: Any, vision: Any) -> tuple[int, ...]:
    """The shape of the features of one picture."""
    pixels = torch.empty(1, vision.num_channels, vision.image_size, vision.image_size)
    return tuple(network.model.get_image_features(pixels, return_dict=True).pooler_output.shape)


def _shape(shape: Any) -> str:
    return "x".join(map(str, shape))
