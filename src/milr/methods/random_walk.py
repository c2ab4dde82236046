"""The control of the gradient: MILR's loop, in which every update is a random vector of the same norm per latent.

1. The policy-gradient update is computed as in `latent_reasoning`, with its Adam moments.
2. Each latent vector (each of a guidance pair on its own) moves by the norm of that update in a uniformly random
   direction, drawn from a generator keyed by step and modality.
All else (which latents are free, the schedule, decoding, the stop test) is that of `latent_reasoning`.
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
    updated, info = update(state, logits, reward, **settings)
    norms = (updated.latents - state.latents).norm(dim=-1, keepdim=True)
    normal = torch.randn(state.latents.shape, generator=generator(key, f"walk {modality}"))
    direction = torch.nn.functional.normalize(normal, dim=-1).to(state.latents)
    latents = state.latents + norms * direction
    return replace(updated, latents=latents), replace(info, distance=rms_distance(latents, state.initial))
