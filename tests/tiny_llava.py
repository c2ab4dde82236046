"""A random LLaVA of one layer, which judges by its own chat template: a stand-in for any vision-language model."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

import tiny_qwen

TEMPLATE = (
    "{% for turn in messages %}{{ turn.role }}: {% for part in turn.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %} assistant:{% endif %}"
)


def save_llava(folder: Path, template: str | None = TEMPLATE) -> None:
    """A checkpoint folder with all that a user's would hold; without a template no question can be put."""
    words = tiny_qwen.tokenizer()
    words.add_special_tokens({"additional_special_tokens": ["<image>"]})
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor = LlavaProcessor(pictures, words, patch_size=16, vision_feature_select_strategy="default",
                               image_token="<image>", num_additional_image_tokens=1,
                               chat_template=template)  # fmt: skip
    torch.manual_seed(0)
    eye = CLIPVisionConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
                           image_size=32, patch_size=16)  # fmt: skip
    language = LlamaConfig(vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=1,
                           num_attention_heads=2, num_key_value_heads=1, initializer_range=0.3)  # fmt: skip
    config = LlavaConfig(vision_config=eye, text_config=language,
                         image_token_index=words.convert_tokens_to_ids("<image>"))  # fmt: skip
    LlavaForConditionalGeneration(config).eval().save_pretrained(folder)
    processor.save_pretrained(folder)
