"""One policy-gradient update of the free latents of one modality: (state, reward) -> (state, info). Equation 6.

Follows MILR: REINFORCE on one rollout, Adam with a fresh state for every prompt, gradients through the heads only.
By default the log-probability is exact and of the executed token, and latents and optimiser are fp32. The authors'
release has `credit` "argmax", an `epsilon`, and latents and logits in the dtype of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.optim.adam import adam

from milr.policy import (
    distance_penalty,
    log_prob,
    reinforce,
    released_log_prob,
    released_probabilities,
    rms_distance,
)
from milr.types import JudgeError, Key, Modality, ModalityInfo

Logits = Callable[[Tensor], Tensor]
Credit = Literal["executed", "argmax"]


@dataclass(frozen=True)
class LatentState:
    """Free latents z (n, d) or (n, 2, d), their values before any update, and Adam's moments after so many `updates`.

    `tokens` (m,) are those of the last rollout and `first_tokens` those of the first, with m < n where an end of text
    came inside the prefix.
    """

    latents: Tensor
    initial: Tensor
    tokens: Tensor
    moments: tuple[Tensor, Tensor]
    first_tokens: Tensor
    updates: int = 0


def start(latents: Tensor, tokens: tuple[int, ...], dtype: torch.dtype = torch.float32) -> LatentState:
    """The state before any update; `tokens` are those of the rollout that `latents` come from."""
    z = latents.detach().to(dtype).clone()
    zero = torch.zeros_like(z)
    executed = torch.tensor(tokens, device=z.device)
    return LatentState(z, z.clone(), executed, (zero, zero.clone()), executed)


def update(state: LatentState, logits: Logits, reward: float, *, learning_rate: float, temperature: float = 1.0,
           l2: float = 0.0, credit: Credit = "executed", epsilon: float | None = None,
           ) -> tuple[LatentState, ModalityInfo]:  # fmt: skip
    """Ascend `reward` * log p(tokens | z) - l2 * mean |z - z0|^2 by one Adam step.

    `logits` maps latents to (n, V), differentiable. `reward` is score - 1 (in [-1, 0]). At learning_rate 0 the
    latents come back bit-identical.
    """
    z = state.latents.clone().requires_grad_(True)
    with torch.enable_grad():
        scores = logits(z)[: len(state.tokens)]
        tokens = state.tokens
        if credit == "argmax":
            tokens = released_probabilities(scores.detach(), temperature, epsilon or 0.0).argmax(-1)
        log_probs = (log_prob(scores, tokens, temperature) if epsilon is None
                     else released_log_prob(scores, tokens, temperature, epsilon))  # fmt: skip
        loss = reinforce(log_probs, reward)
        if l2:
            loss = loss + l2 * distance_penalty(z, state.initial)
        (gradient,) = torch.autograd.grad(loss, z)
    updated = _adam(state, gradient, learning_rate)
    info = ModalityInfo(
        loss=float(loss.detach()),
        gradient_norm=float(gradient.norm()),
        update_norm=float((updated.latents - state.latents).norm()),
        distance=rms_distance(updated.latents, state.initial),
        tokens_changed=0,
        free_tokens=len(z),
    )
    _check_finite(info)
    return updated, info


def _check_finite(info: ModalityInfo) -> None:
    """JudgeError for an update of which anything is infinite or no number."""
    values = {"loss": info.loss, "gradient": info.gradient_norm, "update": info.update_norm}
    for name, value in values.items():
        if not math.isfinite(value):
            raise JudgeError(f"the {name} of the latents is {value}: choose a smaller --learning-rate, or --dtype "
                             "float32.")  # fmt: skip


class UpdateRule(Protocol):
    """How a step moves the latents of one modality: by `update`, or by another rule that may draw from `key`."""

    def __call__(self, state: LatentState, logits: Logits, reward: float, *, key: Key, modality: Modality,
                 **settings: Any) -> tuple[LatentState, ModalityInfo]: ...  # fmt: skip


def policy_gradient(state: LatentState, logits: Logits, reward: float, *, key: Key, modality: Modality,
                    **settings: Any) -> tuple[LatentState, ModalityInfo]:  # fmt: skip
    """The paper's rule: `update`."""
    return update(state, logits, reward, **settings)


def _adam(state: LatentState, gradient: Tensor, learning_rate: float) -> LatentState:
    """torch's functional Adam with its default betas, on copies of the state's tensors."""
    z, first, second = state.latents.clone(), state.moments[0].clone(), state.moments[1].clone()
    adam([z], [gradient], [first], [second], [], [torch.tensor(float(state.updates))], amsgrad=False, beta1=0.9,
         beta2=0.999, lr=learning_rate, weight_decay=0.0, eps=1e-8, maximize=False)  # fmt: skip
    return replace(state, latents=z, moments=(first, second), updates=state.updates + 1)


def execute(state: LatentState, tokens: tuple[int, ...]) -> tuple[LatentState, int]:
    """The state with the tokens that its latents gave, and how many of them differ from those of the last rollout."""
    tokens_changed = count_differences(state.tokens.tolist(), tokens)
    return replace(state, tokens=torch.tensor(tokens, device=state.tokens.device)), tokens_changed


def count_differences(before: Sequence[int], after: Sequence[int]) -> int:
    """How many tokens differ; one that only one of the two has counts as one."""
    return sum(a != b for a, b in zip(before, after, strict=False)) + abs(len(before) - len(after))
