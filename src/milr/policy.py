"""The mathematics of MILR (arXiv 2509.22761), pure functions of tensors; equation numbers are the paper's.

Symbols: T tokens, V vocabulary, d width of a latent. Nothing here knows a model, a file or a device.
"""

from __future__ import annotations

import torch
from torch import Tensor


def guided_logits(conditional: Tensor, unconditional: Tensor, guidance_scale: float | Tensor) -> Tensor:
    """Classifier-free guidance: l_u + w (l_c - l_u), with logits (..., V) of the pair."""
    return unconditional + guidance_scale * (conditional - unconditional)


def log_prob(logits: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
    """log p(token) under softmax(logits / temperature): logits (T, V), tokens (T,), result (T,).

    In double precision where the device has it: at p near 1 the gradient p - 1 is lost in float32, and Adam would make
    full steps of what rounding left.
    """
    assert logits.ndim == 2 and tokens.shape == logits.shape[:1], (logits.shape, tokens.shape)
    exact = logits.float() if logits.device.type == "mps" else logits.double()
    chosen = torch.log_softmax(exact / temperature, dim=-1)
    return chosen.gather(-1, tokens[:, None]).squeeze(-1)


def released_log_prob(logits: Tensor, tokens: Tensor, temperature: float = 1.0, epsilon: float = 1e-8) -> Tensor:
    """The authors' release: log(softmax + epsilon + 1e-10). Same shapes as `log_prob`."""
    probabilities = torch.softmax(logits / temperature, dim=-1) + epsilon
    return torch.log(probabilities.gather(-1, tokens[:, None]).squeeze(-1) + 1e-10)


def reinforce(log_probs: Tensor, advantage: float) -> Tensor:
    """Williams (1992), the loss whose descent ascends J of equation 6: -A sum_i log p(token_i).

    `log_probs` (T,). The gradient with respect to the logits of token i is A (p - e_token).
    """
    assert log_probs.ndim == 1, log_probs.shape
    return -advantage * log_probs.sum()


def reward_of(score: float) -> float:
    """The paper's reward R = score - 1 in [-1, 0]: an update pushes away from what was not right."""
    return score - 1.0


def distance_penalty(latents: Tensor, initial: Tensor) -> Tensor:
    """Mean over the free latents of |z - z0|^2 (the L2 regulariser of the paper's slides); latents (T, ..., d)."""
    assert latents.shape == initial.shape, (latents.shape, initial.shape)
    return (latents - initial).square().sum(-1).mean()


def rms_distance(latents: Tensor, initial: Tensor) -> float:
    """Root mean square of z - z0 over all coordinates."""
    return float((latents - initial).square().mean().sqrt())


def surprise(logits: Tensor, tokens: Tensor, before: Tensor, temperature: float = 1.0) -> float:
    """How much less likely tokens (T,) are than what logits (T, V) would choose: mean of -log p - entropy, in nats.

    Under the untouched latents' logits: about 0 for tokens drawn from them, several nats for words that the model would
    not have said there. A token that stands where it stood `before` (T or fewer) counts 0: a supplied text surprises
    nobody until it changes. Our own measure of collapse; 0 for no tokens.
    """
    if not len(tokens):
        return 0.0
    chances = torch.log_softmax((logits.float() if logits.device.type == "mps" else logits.double()) / temperature, -1)
    strange = -chances.gather(-1, tokens[:, None])[:, 0] + (chances.exp() * chances).sum(-1)
    shared = min(len(tokens), len(before))
    strange[:shared] *= tokens[:shared] != before[:shared]
    return float(strange.mean())


def repetition(tokens: tuple[int, ...], length: int = 4) -> float:
    """Share of n-grams that occurred before in the same text: near 0 is prose, above a half is collapse."""
    grams = [tokens[i : i + length] for i in range(len(tokens) - length + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def free_tokens(ratio: float, length: int) -> int:
    """How many latents a ratio frees: floor(ratio * length), at least one for a ratio above zero."""
    return min(length, max(1, int(ratio * length + 1e-9))) if ratio > 0 and length else 0
