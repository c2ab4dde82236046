"""The control of the gradient: MILR's loop, in which every update is a random vector of the same norm per latent.

1. The update that the policy gradient would make is computed as in `latent_reasoning`, with its Adam moments.
2. Each latent vector (each stream of a guidance pair on its own) then moves as far, in a direction drawn uniformly
   from the request's own randomness, keyed by step and modality.
Everything else (what is free, what moves when, decoding, the reward in the stop test) is latent_reasoning's own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from milr.base import Method
from milr.latent.update import LatentState, Logits, update
from milr.methods.latent_reasoning import Settings, latent_reasoning
from milr.policy import rms_distance
from milr.randomness import generator
from milr.types import Key, Modality, ModalityInfo


def random_walk(settings: Settings) -> Method:
    """The method, with its settings bound."""
    return latent_reasoning(replace(settings, rule=random_update))


def random_update(state: LatentState, logits: Logits, reward: float, *, key: Key, modality: Modality,
                  **settings: Any) -> tuple[LatentState, ModalityInfo]:  # fmt: skip
    """`latent.update.update`, turned into a random direction of equal norm per latent vector."""
    moved, info = update(state, logits, reward, **settings)
    length = (moved.latents - state.latents).norm(dim=-1, keepdim=True)
    drawn = torch.randn(length.shape[:-1] + state.latents.shape[-1:], generator=generator(key, f"walk {modality}"))
    direction = torch.nn.functional.normalize(drawn, dim=-1).to(state.latents)
    latents = state.latents + length * direction
    return replace(moved, latents=latents), replace(info, distance=rms_distance(latents, state.initial))
