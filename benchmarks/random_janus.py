"""Janus models of any size with random weights, for measuring speed: real shapes, no checkpoint, nothing to download.

The weights are made on the device in the wanted precision, so that 7B fits where 7B fits. A text never ends by itself:
the rows of the language head that belong to special tokens are zero, and the best of thousands of random logits is
above zero. Whoever decodes says how long a text is. Words are "w0", "w1", ...: a text is as many tokens again when it
is read back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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

from milr.models.devices import choose_device, choose_dtype
from milr.models.janus import JanusModel
from milr.models.loading import SPECIAL_TOKENS, Checkpoint
from milr.templates import Templates
from milr.types import Prompt

MARKS = (":", ".", ",", "?", "User", "Assistant", "yes", "no")


@dataclass(frozen=True)
class Size:
    """One shape. `side` is image tokens along a side; `prompt_tokens` is how long the reasoning prompt is, all told.

    `vision` is (width, layers, heads), `vq` (channels, multipliers, residual blocks, latent channels) of the tower and
    the decoder.
    """

    width: int
    inner: int
    layers: int
    heads: int
    vocab: int
    codes: int
    side: int
    vision: tuple[int, int, int]
    vq: tuple[int, tuple[int, ...], int, int]
    prompt_tokens: int = 190
    prompt_words: int = 24


_SIGLIP = (1024, 24, 16)
_VQ_16 = (128, (1, 1, 2, 2, 4), 2, 256)
SIZES = {
    "tiny": Size(64, 96, 2, 4, 160, 64, 4, (32, 1, 4), (32, (1, 1, 1), 1, 32), prompt_tokens=24, prompt_words=6),
    "w512": Size(512, 1408, 8, 8, 16384, 16384, 14, (64, 2, 4), (32, (1, 1, 2), 1, 64)),
    "1b": Size(2048, 5632, 24, 16, 102400, 16384, 24, _SIGLIP, _VQ_16),
    "7b": Size(4096, 11008, 30, 32, 102400, 16384, 24, _SIGLIP, _VQ_16),
}
"""1b and 7b have the shapes of Janus-Pro."""


def make(name: str, *, device: str = "auto", dtype: str = "auto", seed: int = 0) -> JanusModel:
    """A random model of one of SIZES; the same seed, device and precision give the same weights."""
    size, place = SIZES[name], choose_device(device)
    words = tokenizer(size.vocab)
    network = _network(size, words, place, choose_dtype(dtype, place), seed)
    checkpoint = Checkpoint(f"random-{name}", Path(f"random-{name}"))
    return JanusModel(checkpoint, network, words, templates=templates(size))


def save(name: str, folder: Path, *, dtype: str = "auto") -> None:
    """The same model as a checkpoint's folder, which `JanusModel.load` reads."""
    size, device = SIZES[name], choose_device("auto")
    words = tokenizer(size.vocab)
    _network(size, words, device, choose_dtype(dtype, device), 0).save_pretrained(folder)
    words.save_pretrained(folder)


def prompts(name: str, count: int, seed: int = 0) -> list[Prompt]:
    """Different prompts of the size's length in words."""
    size, noise = SIZES[name], torch.Generator().manual_seed(seed)
    drawn = torch.randint(_fillers(size.vocab), (count, size.prompt_words), generator=noise).tolist()
    return [Prompt(" ".join(f"w{word}" for word in words), f"random-{place}") for place, words in enumerate(drawn)]


def templates(size: Size) -> Templates:
    """A reasoning turn of `prompt_tokens` tokens around a prompt of `prompt_words`."""
    turn = 1 + 2 + 2  # begin of sentence, "User :", "Assistant :"
    filler = " ".join(f"w{place}" for place in range(size.prompt_tokens - turn - size.prompt_words))
    return Templates(reasoning=f"{filler} {{prompt}}", question="{prompt} ?", role_tags="plain")


def tokenizer(vocab: int) -> PreTrainedTokenizerFast:
    """`vocab` tokens: Janus's special ones, a few marks, and numbered words."""
    named = ["<unk>", *SPECIAL_TOKENS.values(), *MARKS]
    tokens = [*named, *(f"w{place}" for place in range(_fillers(vocab)))]
    inner = Tokenizer(models.WordLevel({token: place for place, token in enumerate(tokens)}, unk_token="<unk>"))
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


def _fillers(vocab: int) -> int:
    return vocab - 1 - len(SPECIAL_TOKENS) - len(MARKS)


def _config(size: Size, placeholder: int) -> JanusConfig:
    channels, multipliers, blocks, latents = size.vq
    width, layers, heads = size.vision
    patch = 2 ** (len(multipliers) - 1)
    text = LlamaConfig(
        vocab_size=size.vocab, hidden_size=size.width, intermediate_size=size.inner, num_hidden_layers=size.layers,
        num_attention_heads=size.heads, num_key_value_heads=size.heads, max_position_embeddings=16384,
        tie_word_embeddings=False,
    )  # fmt: skip
    vision = JanusVisionConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, image_size=size.side * patch,
        patch_size=patch, projection_dim=size.width, num_image_tokens=size.side**2,
    )  # fmt: skip
    vq = JanusVQVAEConfig(
        num_embeddings=size.codes, latent_channels=latents, base_channels=channels, channel_multiplier=multipliers,
        num_res_blocks=blocks, projection_dim=size.width, image_token_embed_dim=size.width,
    )  # fmt: skip
    return JanusConfig(
        text_config=text, vision_config=vision, vq_config=vq, image_token_id=placeholder, tie_word_embeddings=False
    )


def _network(size: Size, words: PreTrainedTokenizerFast, device: str, dtype: torch.dtype, seed: int) -> Any:
    ids = words.get_vocab()
    with torch.device(device), _default_dtype(dtype):
        made: Any = JanusForConditionalGeneration(_config(size, ids[SPECIAL_TOKENS["placeholder"]]))
    made.requires_grad_(False).eval()
    noise = torch.Generator(device).manual_seed(seed)
    for name, parameter in made.named_parameters():
        if parameter.ndim > 1:  # norms and biases stay as transformers makes them: one and zero
            scale = 1.0 if "embed" in name else parameter[0].numel() ** -0.5
            parameter.normal_(0.0, scale, generator=noise)
    made.lm_head.weight.mul_(3.0)  # logits far enough apart for rounding
    made.lm_head.weight[[ids["<unk>"], *(ids[token] for token in SPECIAL_TOKENS.values())]] = 0.0
    made.model.generation_head.vision_head.weight.mul_(4.0)
    settings = made.generation_config
    settings._from_model_config = False
    settings.bos_token_id, settings.eos_token_id = ids[SPECIAL_TOKENS["begin"]], ids[SPECIAL_TOKENS["end"]]
    settings.pad_token_id = ids[SPECIAL_TOKENS["pad"]]
    settings.generation_kwargs = {"boi_token_id": ids[SPECIAL_TOKENS["begin_image"]]}
    return made


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
