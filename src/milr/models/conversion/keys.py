"""The names of Janus's weights: DeepSeek's own, and those of transformers' JanusForConditionalGeneration.

The two differ in names alone, but for the vision tower's attention, where DeepSeek holds query, key and value as one
matrix, and for its position embedding, which has a leading dimension there.
"""

from __future__ import annotations

import re

from milr.types import MissingError

LANGUAGE, LM_HEAD = "language_model.model.", "language_model.lm_head."
TOWER, BLOCKS = "vision_model.vision_tower.", "vision_model.vision_tower.blocks."
VQ = "gen_vision_model."
UNUSED = re.compile(r"vision_model\.vision_tower\.attn_pool\..+|gen_vision_model\.quantize\.codebook_used"
                    r"|language_model\.model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq")  # fmt: skip
"""What transformers' Janus does not have: the tower's pooling, a training statistic, and angles that are computed."""
_ALIGNERS = {"aligner.layers.": "model.aligner.", "gen_aligner.layers.": "model.generation_aligner."}
_TOWER = {"pos_embed": "embeddings.position_embedding.weight", "patch_embed.proj.": "embeddings.patch_embedding.",
          "norm.": "post_layernorm."}  # fmt: skip
_BLOCK = {"norm1.": "layer_norm1.", "norm2.": "layer_norm2.", "mlp.fc1.": "mlp.fc1.", "mlp.fc2.": "mlp.fc2.",
          "attn.proj.": "self_attn.projection_layer.", "attn.q_norm.": "self_attn.q_norm.",
          "attn.k_norm.": "self_attn.k_norm."}  # fmt: skip
_HEAD = {"output_mlp_projector.": "proj_out.", "vision_head.": "vision_head."}
_MIDDLE = {"0": "block_1", "1": "attn_1", "2": "block_2"}
_VQ_LEVELS = {"encoder": "down", "decoder": "up"}


def new_keys(key: str) -> tuple[str, ...]:
    """transformers' names of the weight that DeepSeek calls `key`: none for an unused one, three for a tower's qkv.

    MissingError for a name that no Janus has.
    """
    if UNUSED.fullmatch(key):
        return ()
    if key.startswith(BLOCKS):
        return _block_keys(key)
    new_key = _language_key(key) or _aligner_key(key) or _tower_key(key) or _vq_key(key) or _generation_key(key)
    if not new_key:
        raise MissingError(f"the weight {key[:80]!r} is none of a Janus in DeepSeek's form.")
    return (new_key,)


def _renamed(key: str, names: dict[str, str]) -> str:
    """The key with the first of `names` that it starts with replaced; "" where it starts with none."""
    return next((new + key[len(old) :] for old, new in names.items() if key.startswith(old)), "")


def _language_key(key: str) -> str:
    return _renamed(key, {LANGUAGE: "model.language_model.", LM_HEAD: "lm_head."})


def _aligner_key(key: str) -> str:
    """Linear layers stand at even places there, activations between them."""
    for old, new in _ALIGNERS.items():
        match = re.fullmatch(re.escape(old) + r"(\d+)\.(weight|bias)", key)
        if match and int(match.group(1)) % 2 == 0:
            place = int(match.group(1)) // 2
            return f"{new}{f'hidden_layers.{place - 1}' if place else 'fc1'}.{match.group(2)}"
    return ""


def _tower_key(key: str) -> str:
    inner = _renamed(key.removeprefix(TOWER), _TOWER) if key.startswith(TOWER) else ""
    return inner and f"model.vision_model.{inner}"


def _block_keys(key: str) -> tuple[str, ...]:
    number, _, inner = key.removeprefix(BLOCKS).partition(".")
    start = f"model.vision_model.encoder.layers.{number}."
    if inner in ("attn.qkv.weight", "attn.qkv.bias"):
        ending = inner.rpartition(".")[2]
        return tuple(f"{start}self_attn.{part}_proj.{ending}" for part in "qkv")
    new = _renamed(inner, _BLOCK)
    if not new or not number.isdecimal():
        raise MissingError(f"the weight {key[:80]!r} is none of a Janus in DeepSeek's form.")
    return (start + new,)


def _vq_key(key: str) -> str:
    """Levels, residual blocks and the middle have other names; the rest stays as it is."""
    if not key.startswith(VQ):
        return ""
    parts = key.removeprefix(VQ).split(".")
    if len(parts) > 2 and parts[1] == "conv_blocks" and parts[0] in _VQ_LEVELS:
        parts[1] = _VQ_LEVELS[parts[0]]
        parts = ["block" if part == "res" else part for part in parts]
    elif len(parts) > 2 and parts[1] == "mid":
        parts[2] = _MIDDLE.get(parts[2], parts[2])
    return "model.vqmodel." + ".".join(parts)


def _generation_key(key: str) -> str:
    if key.startswith("gen_embed."):
        return "model.generation_embeddings." + key.removeprefix("gen_embed.")
    inner = _renamed(key.removeprefix("gen_head."), _HEAD) if key.startswith("gen_head.") else ""
    return inner and f"model.generation_head.{inner}"
