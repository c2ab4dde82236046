"""A small Janus under the names that DeepSeek's own checkpoints use, for the tests of `milr convert`.

The names are written here a second time, the other way round and by hand, so that a mistake in one of the two is seen.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

LAYER = "vision_model.vision_tower.blocks."
RENAMES = [
    (r"^lm_head\.", "language_model.lm_head."),
    (r"^model\.language_model\.", "language_model.model."),
    (r"^model\.vision_model\.embeddings\.patch_embedding\.", "vision_model.vision_tower.patch_embed.proj."),
    (r"^model\.vision_model\.embeddings\.position_embedding\.weight$", "vision_model.vision_tower.pos_embed"),
    (r"^model\.vision_model\.post_layernorm\.", "vision_model.vision_tower.norm."),
    (r"^model\.vision_model\.encoder\.layers\.(\d+)\.layer_norm(\d)\.", LAYER + r"\1.norm\2."),
    (r"^model\.vision_model\.encoder\.layers\.(\d+)\.self_attn\.projection_layer\.", LAYER + r"\1.attn.proj."),
    (r"^model\.vision_model\.encoder\.layers\.(\d+)\.mlp\.", LAYER + r"\1.mlp."),
    (r"^model\.aligner\.fc1\.", "aligner.layers.0."),
    (r"^model\.aligner\.hidden_layers\.0\.", "aligner.layers.2."),
    (r"^model\.generation_aligner\.fc1\.", "gen_aligner.layers.0."),
    (r"^model\.generation_aligner\.hidden_layers\.0\.", "gen_aligner.layers.2."),
    (r"^model\.generation_embeddings\.", "gen_embed."),
    (r"^model\.generation_head\.proj_out\.", "gen_head.output_mlp_projector."),
    (r"^model\.generation_head\.vision_head\.", "gen_head.vision_head."),
    (r"^model\.vqmodel\.(encoder|decoder)\.mid\.block_1\.", r"gen_vision_model.\1.mid.0."),
    (r"^model\.vqmodel\.(encoder|decoder)\.mid\.attn_1\.", r"gen_vision_model.\1.mid.1."),
    (r"^model\.vqmodel\.(encoder|decoder)\.mid\.block_2\.", r"gen_vision_model.\1.mid.2."),
    (r"^model\.vqmodel\.(encoder|decoder)\.(?:down|up)\.(\d+)\.block\.", r"gen_vision_model.\1.conv_blocks.\2.res."),
    (r"^model\.vqmodel\.(encoder|decoder)\.(?:down|up)\.", r"gen_vision_model.\1.conv_blocks."),
    (r"^model\.vqmodel\.", "gen_vision_model."),
]
QKV = re.compile(r"model\.vision_model\.encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)")


def original_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers' weights under DeepSeek's names, with what DeepSeek's files hold beside them."""
    merged: dict[str, dict[str, Tensor]] = {}
    named: dict[str, Tensor] = {}
    for key, weight in weights.items():
        if match := QKV.fullmatch(key):
            merged.setdefault(f"{LAYER}{match[1]}.attn.qkv.{match[3]}", {})[match[2]] = weight
            continue
        old, new = next((old, new) for old, new in RENAMES if re.search(old, key))
        named[re.sub(old, new, key)] = weight
    named |= {key: torch.cat([parts[part] for part in "qkv"]) for key, parts in merged.items()}
    named["vision_model.vision_tower.pos_embed"] = named["vision_model.vision_tower.pos_embed"][None]
    named["vision_model.vision_tower.attn_pool.latent"] = torch.zeros(1, 1, 4)
    named["vision_model.vision_tower.attn_pool.mlp.fc1.weight"] = torch.zeros(4, 4)
    named["gen_vision_model.quantize.codebook_used"] = torch.zeros(16)
    return named


def original_config(config: dict[str, Any]) -> dict[str, Any]:
    """DeepSeek's config.json of the same network."""
    text, vision, vq = (config[f"{part}_config"] for part in ("text", "vision", "vq"))
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
             "num_key_value_heads", "max_position_embeddings", "rms_norm_eps")  # fmt: skip
    aligner = {"depth": 2, "n_embed": text["hidden_size"], "projector_type": "mlp_gelu"}
    return {
        "model_type": "multi_modality",
        "architectures": ["MultiModalityCausalLM"],
        "language_config": {"model_type": "llama", **{name: text[name] for name in names}},
        "vision_config": {"cls": "CLIPVisionTower", "model_type": "vision", "params": {
            "image_size": vision["image_size"], "model_name": "siglip_large_patch16_384", "select_feature": "same",
            "select_layer": -1, "num_heads": vision["num_attention_heads"]}},
        "aligner_config": {"cls": "MlpProjector", "params": {**aligner, "input_dim": vision["hidden_size"]}},
        "gen_vision_config": {"cls": "VQ-16", "params": {
            "image_token_size": vq["num_embeddings"], "n_embed": vq["embed_dim"]}},
        "gen_aligner_config": {"cls": "MlpProjector", "params": {**aligner, "input_dim": vq["embed_dim"]}},
        "gen_head_config": {"cls": "vision_head", "params": {
            "image_token_embed": text["hidden_size"], "image_token_size": vq["num_embeddings"],
            "n_embed": text["hidden_size"]}},
    }  # fmt: skip


def write(checkpoint: Path, folder: Path, *, shards: int = 1) -> dict[str, Tensor]:
    """A checkpoint of transformers' form, written to `folder` as DeepSeek publishes them. -> the weights written"""
    folder.mkdir()
    weights = original_names(load_file(checkpoint / "model.safetensors"))
    (folder / "config.json").write_text(
        json.dumps(original_config(json.loads((checkpoint / "config.json").read_text())))
    )
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoint / name, folder / name)
    side = json.loads((checkpoint / "config.json").read_text())["vision_config"]["image_size"]
    pictures = {"image_size": side, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "min_size": 4,
                "do_normalize": True, "rescale_factor": 1 / 255, "background_color": [127] * 3,
                "image_processor_type": "VLMImageProcessor"}  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures))
    save_pickles(weights, folder, shards)
    return weights


def save_pickles(weights: dict[str, Tensor], folder: Path, shards: int) -> None:
    """The weights as DeepSeek ships them: pytorch_model.bin, or several with an index."""
    if shards == 1:
        torch.save({key: weight.clone() for key, weight in weights.items()}, folder / "pytorch_model.bin")
        return
    names = [f"pytorch_model-{index + 1:05}-of-{shards:05}.bin" for index in range(shards)]
    weight_map = {key: names[index % shards] for index, key in enumerate(weights)}
    for name in names:
        part = {key: weights[key].clone() for key in weights if weight_map[key] == name}
        torch.save(part, folder / name)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
