"""A Janus of torch's own modules, under the names of a checkpoint's tensors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from milr.models.plain.drawing import ImageHead, VQModel
from milr.models.plain.language import LanguageModel
from milr.models.plain.vision import Aligner, VisionModel


class PlainModel(nn.Module):
    """All of Janus but the head for text."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        text, vision, vq = config.text_config, config.vision_config, config.vq_config
        self.vision_model = VisionModel(vision)
        self.aligner = Aligner(vision.hidden_size, vision.projection_dim, vision.depth)
        self.vqmodel = VQModel(vq)
        self.generation_embeddings = nn.Embedding(vq.num_embeddings, vq.embed_dim)
        self.generation_aligner = Aligner(vq.embed_dim, vq.projection_dim, vq.num_hidden_layers)
        self.generation_head = ImageHead(vq)
        self.language_model = LanguageModel(text)

    def get_image_features(self, pixel_values: Tensor, return_dict: bool = True) -> Any:
        """Pixels (B, 3, H, W) to what the language model reads, as `pooler_output` (B, N, d)."""
        return SimpleNamespace(pooler_output=self.aligner(self.vision_model(pixel_values)))


class PlainJanus(nn.Module):
    """A Janus with what `JanusModel` asks of transformers' `JanusForConditionalGeneration`, and no more."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.model = PlainModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.lm_head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are."""
        return self.lm_head.weight.dtype

    def get_input_embeddings(self) -> nn.Embedding:
        """Embeds the ids of text."""
        return self.model.language_model.embed_tokens

    def prepare_embeddings_for_image_generation(self, image_ids: Tensor) -> Tensor:
        """Embeds image tokens. (n,) -> (n, d)"""
        embeds: Tensor = self.model.generation_aligner(self.model.generation_embeddings(image_ids))
        return embeds

    def decode_image_tokens(self, image_ids: Tensor) -> Tensor:
        """Image tokens (B, N) to pixels (B, H, W, 3)."""
        pixels: Tensor = self.model.vqmodel(image_ids)
        return pixels.permute(0, 2, 3, 1)
