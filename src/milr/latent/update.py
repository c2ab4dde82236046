"""One policy-gradient update of the free latents of one modality: (state, reward) -> (state, info). Equation 6.

Follows MILR: REINFORCE on one rollout, Adam with a fresh state for every prompt, gradients through the heads only.
Where we differ, by default: the log-probability is that of the executed token and exact, latents and optimiser are
fp32. `Credit` "argmax" with `epsilon` and a `dtype` is what the authors' release does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.optim.adam import adam

from milr.policy import distance_penalty, log_prob, reinforce, released_log_prob, rms_distance
from milr.types import Key, Modality, ModalityInfo

Logits = Callable[[Tensor], Tensor]
Credit = Literal["executed", "argmax"]


@dataclass(frozen=True)
class LatentState:
    """Free latents (n, d) or (n, 2, d) with Adam's moments, where they started, the tokens last and first executed.

    `tokens` (m,) has m < n where an end of text came inside the prefix: what follows it was not executed.
    """

    latents: Tensor
    initial: Tensor
    tokens: Tensor
    moments: tuple[Tensor, Tensor]
    first: Tensor
    count: int = 0


def start(latents: Tensor, tokens: tuple[int, ...], dtype: torch.dtype = torch.float32) -> LatentState:
    """The state before any update; `tokens` were executed under `latents`."""
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
        tokens = scores.detach().argmax(-1) if credit == "argmax" else state.tokens
        log_probs = (log_prob(scores, tokens, temperature) if epsilon is None
                     else released_log_prob(scores, tokens, temperature, epsilon))  # fmt: skip
        loss = reinforce(log_probs, reward)
        if l2:
            loss = loss + l2 * distance_penalty(z, state.initial)
        (gradient,) = torch.autograd.grad(loss, z)
    moved = _adam(state, gradient, learning_rate)
    info = ModalityInfo(
        loss=float(loss.detach()),
        gradient_norm=float(gradient.norm()),
        update_norm=float((moved.latents - state.latents).norm()),
        distance=rms_distance(moved.latents, state.initial),
        tokens_changed=0,
        free_tokens=len(z),
    )
    return moved, info


class UpdateRule(Protocol):
    """How a step moves the latents of a modality; `key` names the step's own randomness."""

    def __call__(self, state: LatentState, logits: Logits, reward: float, *, key: Key, modality: Modality,
                 **settings: Any) -> tuple[LatentState, ModalityInfo]: ...  # fmt: skip


def policy_gradient(state: LatentState, logits: Logits, reward: float, *, key: Key, modality: Modality,
                    **settings: Any) -> tuple[LatentState, ModalityInfo]:  # fmt: skip
    """The paper's rule: `update`, which needs no randomness."""
    return update(state, logits, reward, **settings)


def _adam(state: LatentState, gradient: Tensor, learning_rate: float) -> LatentState:
    """torch's own Adam (default betas) on copies, so that the old state stays as it was."""
    z, first, second = state.latents.clone(), state.moments[0].clone(), state.moments[1].clone()
    adam([z], [gradient], [first], [second], [], [torch.tensor(float(state.count))], amsgrad=False, beta1=0.9,
         beta2=0.999, lr=learning_rate, weight_decay=0.0, eps=1e-8, maximize=False)  # fmt: skip
    return replace(state, latents=z, moments=(first, second), count=state.count + 1)


def execute(state: LatentState, tokens: tuple[int, ...]) -> tuple[LatentState, int]:
    """Record the tokens that the moved latents gave; also how many differ from those executed before."""
    before = state.tokens.tolist()
    changed = sum(a != b for a, b in zip(before, tokens, strict=False)) + abs(len(before) - len(tokens))
    return replace(state, tokens=torch.tensor(tokens, device=state.tokens.device)), changed
