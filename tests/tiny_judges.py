"""Small random BLIP, GIT and GroundingDINO networks with one BERT vocabulary, whose marks have BERT's own ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertTokenizer,
    BlipConfig,
    BlipForQuestionAnswering,
    CLIPImageProcessorPil,
    DPTConfig,
    DPTForDepthEstimation,
    DPTImageProcessorPil,
    GitConfig,
    GitForCausalLM,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessorPil,
    SwinConfig,
)

SIZE = 1100
DEC, ENC = SIZE, SIZE + 1  # the two marks that BLIP adds to BERT's vocabulary
MARKS = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
WORDS = "yes no is this a are there red blue car dog cat traffic light 2 the ##s horse ##back person".split()  # noqa: SIM905


def tokenizer() -> BertTokenizer:
    """A few words at ids from 200 on; the rest are unused."""
    named = MARKS | {200 + index: word for index, word in enumerate(WORDS)}
    return BertTokenizer(vocab={named.get(index, f"[unused{index}]"): index for index in range(SIZE)})


def blip(seed: int = 0) -> BlipForQuestionAnswering:
    """Patches of 48 pixels, its position table for pictures of 384 pixels, as in the converted checkpoint."""
    torch.manual_seed(seed)
    text = {"vocab_size": SIZE + 2, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": 64, "bos_token_id": DEC, "sep_token_id": 102,
            "initializer_range": 0.3}  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": 384, "patch_size": 48, "initializer_range": 0.3}  # fmt: skip
    config = BlipConfig(text_config=text, vision_config=vision, initializer_range=0.3)
    return BlipForQuestionAnswering(config).eval()


def git(seed: int = 0) -> GitForCausalLM:
    """Pictures of 32 pixels in patches of 8."""
    torch.manual_seed(seed)
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": 32, "patch_size": 8}  # fmt: skip
    config = GitConfig(
        vision_config=vision, vocab_size=SIZE, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    return GitForCausalLM(config).eval()


def git_processor() -> CLIPImageProcessorPil:
    """What prepares the pictures of `git`."""
    return CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def grounding_dino(seed: int = 0) -> GroundingDinoForObjectDetection:
    """Ten queries, two layers each."""
    torch.manual_seed(seed)
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
                                   out_features=["stage2", "stage3", "stage4"]),
        text_config=BertConfig(vocab_size=SIZE, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                               intermediate_size=32),
        d_model=32, encoder_layers=1, decoder_layers=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        encoder_attention_heads=2, decoder_attention_heads=2, num_queries=10, disable_custom_kernels=True,
        init_std=0.3,
    )  # fmt: skip
    return GroundingDinoForObjectDetection(config).eval()


def grounding_processor() -> GroundingDinoImageProcessorPil:
    """As the checkpoint's, but for pictures of a shorter side of 96 and a longer of 160."""
    return GroundingDinoImageProcessorPil(size={"shortest_edge": 96, "longest_edge": 160})


def dpt(seed: int = 0) -> DPTForDepthEstimation:
    """Pictures of 32 pixels in patches of 8."""
    torch.manual_seed(seed)
    config = DPTConfig(hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=64, image_size=32,
                       patch_size=8, backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 16, 16],
                       fusion_hidden_size=16, reassemble_factors=[4, 2, 1, 0.5], is_hybrid=False,
                       initializer_range=0.3, use_auxiliary_head=False)  # fmt: skip
    return DPTForDepthEstimation(config).eval()


def dpt_processor() -> DPTImageProcessorPil:
    """What prepares the pictures of `dpt`."""
    return DPTImageProcessorPil(size={"height": 32, "width": 32})


def saved(folder: Path, *parts: Any) -> str:
    """A checkpoint folder with all parts in it."""
    for part in parts:
        part.save_pretrained(folder)
    return str(folder)
