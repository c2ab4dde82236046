"""Small random text-to-image pipelines of diffusers' own classes, saved to folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import tiny_geneval

WIDTH = 16


def _text_config(vocab_size: int) -> CLIPTextConfig:
    return CLIPTextConfig(hidden_size=WIDTH, intermediate_size=WIDTH, projection_dim=WIDTH, num_hidden_layers=1,
                          num_attention_heads=2, vocab_size=vocab_size, max_position_embeddings=77)  # fmt: skip


def _parts(cross: int, **more: Any) -> dict[str, Any]:
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

    blocks = ("DownBlock2D", "CrossAttnDownBlock2D"), ("CrossAttnUpBlock2D", "UpBlock2D")
    unet = UNet2DConditionModel(sample_size=8, in_channels=4, out_channels=4, down_block_types=blocks[0],
                                up_block_types=blocks[1], block_out_channels=(WIDTH, 2 * WIDTH), layers_per_block=1,
                                cross_attention_dim=cross, attention_head_dim=4, norm_num_groups=8, **more)  # fmt: skip
    vae = AutoencoderKL(block_out_channels=[WIDTH, 2 * WIDTH], latent_channels=4, norm_num_groups=8, sample_size=16,
                        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
                        )  # fmt: skip
    tokenizer = tiny_geneval.clip_tokenizer()
    tokenizer.model_max_length = 77
    return {
        "unet": unet,
        "vae": vae,
        "scheduler": DDIMScheduler(steps_offset=1, clip_sample=False),
        "tokenizer": tokenizer,
    }


def save_stable_diffusion(folder: Path, seed: int = 0) -> Path:
    """Stable Diffusion with pictures of 16 x 16 pixels and no safety checker."""
    from diffusers import StableDiffusionPipeline

    torch.manual_seed(seed)
    parts = _parts(WIDTH)
    text = CLIPTextModel(_text_config(len(parts["tokenizer"])))
    StableDiffusionPipeline(text_encoder=text, safety_checker=None, feature_extractor=None,
                            requires_safety_checker=False, **parts).save_pretrained(folder)  # fmt: skip
    return folder


def save_stable_diffusion_xl(folder: Path, seed: int = 0) -> Path:
    """Stable Diffusion XL, with its two text encoders, and pictures of 16 x 16 pixels."""
    from diffusers import StableDiffusionXLPipeline

    torch.manual_seed(seed)
    parts = _parts(2 * WIDTH, addition_embed_type="text_time", addition_time_embed_dim=8,
                   transformer_layers_per_block=1, projection_class_embeddings_input_dim=6 * 8 + WIDTH)  # fmt: skip
    config = _text_config(len(parts["tokenizer"]))
    StableDiffusionXLPipeline(text_encoder=CLIPTextModel(config), text_encoder_2=CLIPTextModelWithProjection(config),
                              tokenizer_2=parts["tokenizer"], **parts).save_pretrained(folder)  # fmt: skip
    return folder
