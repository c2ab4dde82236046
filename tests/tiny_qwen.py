"""A small random Qwen2.5-VL with a byte tokenizer, and the few lessons that make it a judge of two plain pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from milr.rewards.vision.qwen import LocalQwen
from milr.rewards.vision.qwen3 import LocalQwen3

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")  # fmt: skip  # noqa: E501


def tokenizer() -> Any:
    """Every byte is a token; Qwen's special strings are one token each."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({letter: index for index, letter in enumerate(alphabet)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        additional_special_tokens=list(SPECIAL),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )


def judge(seed: int = 0, max_tokens: int = 24) -> LocalQwen:
    """An untaught judge: its answers are noise."""
    words = tokenizer()
    ids = dict(zip(SPECIAL, words.convert_tokens_to_ids(list(SPECIAL)), strict=True))
    torch.manual_seed(seed)
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(words), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 1, "bos_token_id": None,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
            "eos_token_id": ids["<|im_end|>"], "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32,
            "fullatt_block_indexes": [0],
        },
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip
    network = Qwen2_5_VLForConditionalGeneration(config).eval()
    return LocalQwen(network, Qwen2VLImageProcessorPil(), words, name="tiny", max_tokens=max_tokens)


def judge3(seed: int = 0) -> LocalQwen3:
    """An untaught Qwen3-VL of one layer with the same tokenizer."""
    words = tokenizer()
    ids = dict(zip(SPECIAL, words.convert_tokens_to_ids(list(SPECIAL)), strict=True))
    torch.manual_seed(seed)
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(words), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "initializer_range": 0.3,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
            "eos_token_id": ids["<|im_end|>"], "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32,
            "deepstack_visual_indexes": [0], "num_position_embeddings": 16,
        },
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip
    network = Qwen3VLForConditionalGeneration(config).eval()
    return LocalQwen3(network, Qwen2VLImageProcessorPil(patch_size=16), words, name="tiny")


def save_qwen3(folder: Path) -> None:
    """A checkpoint folder of `judge3`."""
    judge = judge3()
    for part in (judge.network, judge.processor, judge.tokenizer):
        part.save_pretrained(folder)


def teach(judge: LocalQwen, question: str, answers: Mapping[str, str], steps: int = 100) -> None:
    """Teach it to answer `question` about a plain picture of each colour."""
    optimiser = torch.optim.AdamW(judge.network.parameters(), 6e-3)
    for _ in range(steps):
        loss = torch.stack([_surprise(judge, colour, question, text) for colour, text in answers.items()]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if loss < 0.2:
            return


def plain(colour: str) -> Image.Image:
    """A picture of one colour."""
    return Image.new("RGB", (56, 56), colour)


def _surprise(judge: LocalQwen, colour: str, question: str, text: str) -> torch.Tensor:
    read = judge.inputs(plain(colour), question)
    answer = judge.tokenizer([text + "<|im_end|>"], return_tensors="pt")["input_ids"]
    ids = torch.cat([read["input_ids"], answer], 1)
    given = read | {"input_ids": ids, "attention_mask": torch.ones_like(ids),
                    "mm_token_type_ids": (ids == judge.network.config.image_token_id).int()}  # fmt: skip
    logits = judge.network(**given).logits[0, -answer.shape[1] - 1 : -1]
    return torch.nn.functional.cross_entropy(logits, answer[0])
