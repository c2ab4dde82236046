"""What the decode engine is asked for and what it returns, the same for text and image tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from milr.models.decoding.prefix_cache import TokenIds
from milr.randomness import NoiseStream


@dataclass(frozen=True)
class Head:
    """How one modality turns latents into logits and tokens into inputs.

    `embed` maps token ids (n,) to inputs (n, d). `logits` maps fp32 latents (B, G, d) of G sequences a request and
    guidance scales (B,) to fp32 logits (B, V). `end_token_id` finishes a request early, if there is one. `is_text`: the
    tokens share ids and embeddings with prompts. `dtype`, of the network, decides what a near tie is.
    """

    embed: Callable[[Tensor], Tensor]
    logits: Callable[[Tensor, Tensor], Tensor]
    end_token_id: int | None = None
    is_text: bool = False
    dtype: torch.dtype = torch.float32

    def cache_ids(self, token_ids: Sequence[int]) -> TokenIds:
        """The ids by which the prefix cache knows these tokens; those of images are negative, so that none is text."""
        return tuple(token_ids) if self.is_text else tuple(-2 - token_id for token_id in token_ids)


@dataclass(frozen=True)
class DecodeRequest:
    """The embedded prompt of each sequence (G, L, d), and how to continue it.

    A request has one sequence (text) or a guidance pair (image: conditional, unconditional), whose prompts differ and
    which are fed the same new tokens. `prefix` is forced and counts among the `max_new_tokens`; the first `num_latents`
    latents are returned. Temperature 0 is greedy and needs no noise. `prompt_ids` are the ids of each sequence's
    prompt, where it consists of token ids only.
    """

    prompt_embeds: Tensor
    max_new_tokens: int
    prefix: TokenIds = ()
    num_latents: int = 0
    temperature: float = 0.0
    guidance_scale: float = 1.0
    noise: NoiseStream | None = None
    prompt_ids: tuple[TokenIds, ...] = ()

    def is_draftable(self, head: Head) -> bool:
        """Whether a draft can be verified: greedy text after a prompt of token ids."""
        return head.is_text and bool(self.prompt_ids) and not self.temperature


@dataclass(frozen=True)
class DecodeResult:
    """All new token ids, the fp32 latents (num_latents, G, d) that predict the first of them, and the near ties.

    `near_ties` are positions whose two best tokens were too close to trust; `num_decoded` counts tokens not forced, and
    `log_probs` are those of image tokens not forced, at temperature 1.
    """

    token_ids: TokenIds
    latents: Tensor | None
    near_ties: tuple[int, ...]
    num_decoded: int
    log_probs: tuple[float, ...] = ()
