"""transformers' configuration of a Janus, from DeepSeek's config.json and the shapes of its weights.

Sizes come from the shapes. What shapes do not tell (heads, lengths, angles) comes from config.json, or is what the
classes that DeepSeek's file names have built in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from transformers import JanusConfig, JanusVisionConfig, JanusVQVAEConfig, LlamaConfig

from milr.types import MissingError

Shapes = Mapping[str, tuple[int, ...]]
TOWER_HEADS = 16  # of every SigLIP that DeepSeek's code knows
_LANGUAGE = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
             "num_key_value_heads", "hidden_act", "max_position_embeddings", "rms_norm_eps", "rope_theta",
             "rope_scaling", "attention_bias", "mlp_bias", "head_dim")  # fmt: skip
_PARTS = ("vision_config", "aligner_config", "gen_vision_config", "gen_aligner_config", "gen_head_config")


def converted_config(content: Mapping[str, Any], shapes: Shapes, token_ids: Mapping[str, int]) -> JanusConfig:
    """The configuration; `content` is DeepSeek's config.json, `shapes` are those of the weights under their new names.

    `token_ids` are those of begin, end, pad and placeholder. MissingError where a part is of a kind that transformers'
    Janus has not; KeyError and the like where `shapes` lack a weight.
    """
    parameters = {part: _parameters(content, part) for part in _PARTS}
    _check_kinds(parameters)
    language = content.get("language_config")
    if not isinstance(language, dict):
        raise MissingError("the config.json has no language_config; it is none of a Janus in DeepSeek's form.")
    text = LlamaConfig(
        **{name: language[name] for name in _LANGUAGE if name in language},
        bos_token_id=token_ids["begin"], eos_token_id=token_ids["end"], pad_token_id=token_ids["pad"],
        tie_word_embeddings=False,
    )  # fmt: skip
    return JanusConfig(
        text_config=text, vision_config=_vision(parameters["vision_config"], shapes), vq_config=_vq(shapes),
        image_token_id=token_ids["placeholder"], tie_word_embeddings=False,
    )  # fmt: skip


def _parameters(content: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    section = content.get(part, {})
    parameters = section.get("params", {}) if isinstance(section, dict) else None
    if not isinstance(parameters, dict):
        raise MissingError(f"the config.json has no {part} that can be read; it is none of a Janus in DeepSeek's form.")
    return parameters


def _check_kinds(parameters: Mapping[str, Mapping[str, Any]]) -> None:
    """MissingError for aligners and layers that transformers' Janus has not."""
    for part in ("aligner_config", "gen_aligner_config"):
        if (kind := parameters[part].get("projector_type", "mlp_gelu")) != "mlp_gelu":
            raise MissingError(f"the {part} is of the kind {str(kind)[:40]!r}, and transformers' Janus has mlp_gelu.")
    tower = parameters["vision_config"]
    if tower.get("select_layer", -1) != -1 or tower.get("select_feature", "same") != "same":
        raise MissingError("the vision_config takes features of another layer than the last, which transformers' Janus "
                           "does not.")  # fmt: skip


def _vision(parameters: Mapping[str, Any], shapes: Shapes) -> JanusVisionConfig:
    start = "model.vision_model."
    width, channels, patch_size, _ = shapes[f"{start}embeddings.patch_embedding.weight"]
    num_positions = shapes[f"{start}embeddings.position_embedding.weight"][0]
    projection, _ = shapes["model.aligner.fc1.weight"]
    return JanusVisionConfig(
        hidden_size=width, num_channels=channels, patch_size=patch_size,
        image_size=int(parameters.get("image_size", patch_size * round(num_positions**0.5))),
        num_image_tokens=num_positions, num_attention_heads=int(parameters.get("num_heads", TOWER_HEADS)),
        num_hidden_layers=_count(shapes, rf"{start}encoder\.layers\.(\d+)\."),
        mlp_ratio=shapes[f"{start}encoder.layers.0.mlp.fc1.weight"][0] / width,
        attention_bias=f"{start}encoder.layers.0.self_attn.q_proj.bias" in shapes,
        use_qk_norm=f"{start}encoder.layers.0.self_attn.q_norm.weight" in shapes,
        projection_dim=projection, depth=1 + _count(shapes, r"model\.aligner\.hidden_layers\.(\d+)\."),
    )  # fmt: skip


def _vq(shapes: Shapes) -> JanusVQVAEConfig:
    encoder = "model.vqmodel.encoder."
    base, in_channels = shapes[f"{encoder}conv_in.weight"][:2]
    levels = range(_count(shapes, rf"{encoder}down\.(\d+)\."))
    num_embeddings, embed_dim = shapes["model.vqmodel.quantize.embedding.weight"]
    projection, image_token_width = shapes["model.generation_head.proj_out.weight"]
    return JanusVQVAEConfig(
        base_channels=base, in_channels=in_channels, num_embeddings=num_embeddings, embed_dim=embed_dim,
        channel_multiplier=[shapes[f"{encoder}down.{level}.block.0.conv1.weight"][0] // base for level in levels],
        num_res_blocks=_count(shapes, rf"{encoder}down\.0\.block\.(\d+)\."),
        latent_channels=shapes["model.vqmodel.post_quant_conv.weight"][0],
        out_channels=shapes["model.vqmodel.decoder.conv_out.weight"][0],
        projection_dim=projection, image_token_embed_dim=image_token_width,
        num_hidden_layers=1 + _count(shapes, r"model\.generation_aligner\.hidden_layers\.(\d+)\."),
    )  # fmt: skip


def _count(shapes: Shapes, pattern: str) -> int:
    """How many different numbers stand in names that begin like `pattern`."""
    return len({match.group(1) for key in shapes if (match := re.match(pattern, key))})
