"""Small random Janus models, saved as checkpoints with a word-level tokenizer, so that the real loader is tested."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    JanusConfig,
    JanusForConditionalGeneration,
    JanusVisionConfig,
    JanusVQVAEConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from milr.models.janus import JanusModel
from milr.models.loading import SPECIAL_TOKENS
from milr.templates import NANO

WIDTH = 32
TEMPLATES = replace(NANO, verdict="first", answer_tokens=8)  # an untrained model comes to no verdict by thinking aloud
IMAGE_VOCAB = 48
SIDE = 4  # image tokens along one side
WORDS = """
    a an and the of to in is it one two red blue green star circle square left right above below big small plan
    picture does this show answer yes no or what see describe colour shape with near under over User Assistant Yes No
""".split()  # noqa: SIM905
MARKS = [":", "|>:", "<|", "|>", ".", "..", ",", "?"]


def tokenizer() -> PreTrainedTokenizerFast:
    """Words and marks, Janus's special tokens, and an unknown token."""
    tokens = ["<unk>", *SPECIAL_TOKENS.values(), *MARKS, *WORDS]
    inner = Tokenizer(models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="<unk>",
        bos_token=SPECIAL_TOKENS["begin"],
        eos_token=SPECIAL_TOKENS["end"],
        pad_token=SPECIAL_TOKENS["pad"],
        additional_special_tokens=[SPECIAL_TOKENS[name] for name in ("begin_image", "end_image", "placeholder")],
    )


def config(vocab: int, placeholder: int) -> JanusConfig:
    """Two layers of width 32, a 16-token picture, 64 places of vision."""
    text = LlamaConfig(
        vocab_size=vocab,
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=False,
    )
    vision = JanusVisionConfig(
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=4,
        image_size=8 * SIDE,
        patch_size=8,
        projection_dim=WIDTH,
        num_image_tokens=SIDE * SIDE,
        mlp_ratio=1.0,
    )
    vq = JanusVQVAEConfig(
        num_embeddings=IMAGE_VOCAB,
        latent_channels=32,
        base_channels=32,
        channel_multiplier=[1, 1],
        num_res_blocks=1,
        projection_dim=WIDTH,
        image_token_embed_dim=WIDTH,
    )
    return JanusConfig(
        text_config=text, vision_config=vision, vq_config=vq, image_token_id=placeholder, tie_word_embeddings=False
    )


def network(words: PreTrainedTokenizerFast, seed: int = 0) -> Any:
    """Random weights, large enough that logits are well apart; no embedding row is zero."""
    ids = words.get_vocab()
    made = JanusForConditionalGeneration(config(len(ids), ids[SPECIAL_TOKENS["placeholder"]]))
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.ndim >= 2:
                fan_in = parameter[0].numel()
                scale = 1.0 if "embed" in name else fan_in**-0.5
                parameter.copy_(torch.randn(parameter.shape, generator=noise) * scale)
            elif name.endswith("bias"):
                parameter.copy_(torch.randn(parameter.shape, generator=noise) * 0.1)
        made.lm_head.weight.mul_(3.0)
        made.model.generation_head.vision_head.weight.mul_(4.0)
    settings = made.generation_config
    settings._from_model_config = False
    settings.bos_token_id, settings.eos_token_id = ids[SPECIAL_TOKENS["begin"]], ids[SPECIAL_TOKENS["end"]]
    settings.pad_token_id = ids[SPECIAL_TOKENS["pad"]]
    settings.generation_kwargs = {"boi_token_id": ids[SPECIAL_TOKENS["begin_image"]]}
    return made.eval()


def save(folder: Path, seed: int = 0) -> Path:
    """A checkpoint folder that `JanusModel.load` and transformers read."""
    words = tokenizer()
    network(words, seed).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def load(folder: Path, seed: int = 0, **settings: Any) -> JanusModel:
    """A small model, by way of its checkpoint in `folder`."""
    return JanusModel.load(save(folder, seed), device="cpu", **settings)
