"""Small random Mask2Former and CLIP models of transformers' own classes, and a CLIP tokenizer of single letters."""

from __future__ import annotations

import string
from pathlib import Path

import torch
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    SwinConfig,
)

from milr.rewards.vision.clip import ClipEncoder

LETTERS = string.ascii_lowercase + string.digits + string.punctuation
VOCABULARY = [letter + end for end in ("", "</w>") for letter in LETTERS] + ["<|startoftext|>", "<|endoftext|>"]
CLIP_LENGTH = 77


def mask2former(labels: int = 80, seed: int = 0) -> Mask2FormerForUniversalSegmentation:
    """Six queries; small in every width."""
    torch.manual_seed(seed)
    swin = SwinConfig(embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
                      out_features=["stage1", "stage2", "stage3", "stage4"])  # fmt: skip
    config = Mask2FormerConfig(
        backbone_config=swin, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=32,
        dim_feedforward=32, num_attention_heads=2, encoder_layers=1, decoder_layers=2, num_queries=6,
        num_labels=labels,
    )  # fmt: skip
    return Mask2FormerForUniversalSegmentation(config).eval()


def clip_tokenizer() -> CLIPTokenizer:
    """One token for each letter, between a start and an end token."""
    return CLIPTokenizer(vocab={token: index for index, token in enumerate(VOCABULARY)}, merges=[])


def clip_processor() -> CLIPImageProcessorPil:
    """CLIP's preprocessing at 32 pixels."""
    return CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def clip_network(seed: int = 0) -> CLIPModel:
    """Two layers each; weights large enough that pictures and texts differ visibly."""
    torch.manual_seed(seed)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": len(VOCABULARY), "max_position_embeddings": CLIP_LENGTH, "bos_token_id": len(VOCABULARY) - 2,
            "eos_token_id": len(VOCABULARY) - 1, "pad_token_id": len(VOCABULARY) - 1}  # fmt: skip
    network = CLIPModel(CLIPConfig(text_config={**shape, **text}, projection_dim=8,
                                   vision_config={**shape, "image_size": 32, "patch_size": 8})).eval()  # fmt: skip
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name != "logit_scale":
                weight.add_(0.3 * torch.randn_like(weight))
    return network


def clip(seed: int = 0) -> ClipEncoder:
    """The three parts together."""
    return ClipEncoder(clip_network(seed), clip_tokenizer(), clip_processor())


def save_clip(folder: Path, seed: int = 0) -> Path:
    """A CLIP checkpoint with its tokenizer and image processor."""
    for part in (clip_network(seed), clip_tokenizer(), clip_processor()):
        part.save_pretrained(folder)
    return folder
