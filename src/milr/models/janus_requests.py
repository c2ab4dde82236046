"""From the requests of the contract to those of the decode engine: prompts embedded, noise keyed, limits applied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from milr.models.decoding.request import DecodeRequest
from milr.models.janus_prompts import JanusPrompts
from milr.models.pictures import Preprocessing
from milr.randomness import NoiseStream
from milr.types import DrawRequest, ReasonRequest

if TYPE_CHECKING:
    from PIL.Image import Image


class JanusRequests:
    """Builds the decode requests of one Janus, by its embeddings and its vision tower."""

    def __init__(self, network: Any, prompts: JanusPrompts, preprocess: Preprocessing) -> None:
        self._network, self._prompts, self._preprocess = network, prompts, preprocess

    def text(self, request: ReasonRequest) -> DecodeRequest:
        """A visualisation to write: one sequence."""
        max_new_tokens = min(request.max_new_tokens, self._prompts.max_text_tokens)
        noise = self._noise(request, "text", self._network.config.text_config.vocab_size)
        if request.instruction is None:
            prompt = self._prompts.reasoning(request.prompt)
        else:
            prompt = self._prompts.instruction(request.instruction)
            max_new_tokens = min(max_new_tokens, self._prompts.max_positions - len(prompt))
        if request.open_prefix:  # read as a part of the prompt: it counts for nothing, and an end in it ends nothing
            prompt, request = [*prompt, *request.prefix], replace(request, prefix=())
            max_new_tokens = max(1, min(max_new_tokens + 1, self._prompts.max_positions_beside_picture - len(prompt)))
        return self._request(request, [prompt], max_new_tokens, noise)

    def image(self, request: DrawRequest) -> DecodeRequest:
        """A picture to draw: a guidance pair of sequences; with guidance 1 the conditional one alone decides."""
        limit = self._prompts.num_image_tokens
        max_new_tokens = limit if request.max_new_tokens is None else min(request.max_new_tokens, limit)
        noise = self._noise(request, "image", self._network.config.vq_config.num_embeddings)
        prompts = self._prompts.drawing(request.text, request.role_tags)[: 2 if request.guidance_scale != 1 else 1]
        return self._request(request, prompts, max_new_tokens, noise, request.guidance_scale)

    @torch.no_grad()
    def answers(self, pictures: Sequence[Image], questions: Sequence[str], *, max_new_tokens: int, num_latents: int
                ) -> Iterator[DecodeRequest]:  # fmt: skip
        """Questions to answer: a prompt each, in which the picture's features stand for its placeholder tokens."""
        pixel_values = self._preprocess(pictures).to(self._network.device, self._network.dtype)
        features = self._network.model.get_image_features(pixel_values, return_dict=True).pooler_output
        for question, picture_features in zip(questions, features, strict=True):
            prompt_ids = self._prompts.question(question)
            embeds = self._embed([prompt_ids])
            is_picture = torch.tensor(prompt_ids) == self._prompts.special_ids.placeholder
            embeds[0, is_picture] = picture_features.to(embeds.dtype)
            yield DecodeRequest(embeds, max_new_tokens=max_new_tokens, num_latents=num_latents)

    def _request(self, request: ReasonRequest | DrawRequest, prompts: Sequence[Sequence[int]], max_new_tokens: int,
                 noise: NoiseStream | None, guidance_scale: float = 1.0) -> DecodeRequest:  # fmt: skip
        return DecodeRequest(
            self._embed(prompts),
            max_new_tokens=max_new_tokens,
            prefix=request.prefix,
            num_latents=max_new_tokens if request.num_latents is None else request.num_latents,
            temperature=request.temperature,
            guidance_scale=guidance_scale,
            noise=noise,
            prompt_ids=tuple(map(tuple, prompts)),
        )

    def _noise(self, request: ReasonRequest | DrawRequest, role: str, vocab_size: int) -> NoiseStream | None:
        """The request's noise; a greedy one needs none."""
        if not request.temperature:
            return None
        return NoiseStream(request.key, role, vocab_size, override=request.noise)

    @torch.no_grad()
    def _embed(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Token ids of prompts of equal length, embedded. (G, L, d)"""
        embeds: Tensor = self._network.get_input_embeddings()(torch.tensor(prompts, device=self._network.device))
        return embeds


def kind_of_batch(request: DrawRequest) -> tuple[str, bool]:
    """What the requests of one batch share: the dtype of the logits, and whether the unconditional sequence counts."""
    return request.logits_dtype, request.guidance_scale != 1
