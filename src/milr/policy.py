"""The mathematics of MILR (arXiv 2509.22761), pure functions of tensors; equation numbers are the paper's.

Symbols: T tokens, V vocabulary, d width of a latent. Nothing here knows a model, a file or a device.
"""

from __future__ import annotations

import torch
from torch import Tensor


def guided_logits(conditional: Tensor, unconditional: Tensor, guidance_scale: float | Tensor) -> Tensor:
    """Classifier-free guidance: l_u + w (l_c - l_u), with logits (..., V) of the pair, in their dtype."""
    return unconditional + (guidance_scale * (conditional - unconditional)).to(unconditional.dtype)


def log_prob(logits: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
    """log p(token) under softmax(logits / temperature): logits (T, V), tokens (T,), result (T,).

    In double precision where the device has it: at p near 1 the gradient p - 1 is lost in float32, and Adam would take
    full steps along rounding errors.
    """
    assert logits.ndim == 2 and tokens.shape == logits.shape[:1], (logits.shape, tokens.shape)
    log_probs = torch.log_softmax(_double(logits) / temperature, dim=-1)
    return log_probs.gather(-1, tokens[:, None]).squeeze(-1)


def released_probabilities(logits: Tensor, temperature: float = 1.0, epsilon: float = 1e-8) -> Tensor:
    """The authors' release: softmax(logits / temperature) + epsilon, (T, V), all in the dtype of the logits."""
    return torch.softmax(logits / temperature, dim=-1) + epsilon


def released_log_prob(logits: Tensor, tokens: Tensor, temperature: float = 1.0, epsilon: float = 1e-8) -> Tensor:
    """The authors' release: log(softmax + epsilon + 1e-10). Same shapes as `log_prob`, in the dtype of the logits."""
    probabilities = released_probabilities(logits, temperature, epsilon)
    return torch.log(probabilities.gather(-1, tokens[:, None]).squeeze(-1) + 1e-10)


def reinforce(log_probs: Tensor, advantage: float) -> Tensor:
    """Williams (1992), the loss whose descent ascends J of equation 6: -A sum_i log p(token_i).

    `log_probs` (T,). The gradient with respect to the logits of token i is A (p - e_token).
    """
    assert log_probs.ndim == 1, log_probs.shape
    return -advantage * log_probs.sum()


def reward_of(score: float) -> float:
    """The paper's reward R = score - 1 in [-1, 0]: an update lowers the probability of the tokens it is about."""
    return score - 1.0


def distance_penalty(latents: Tensor, initial: Tensor) -> Tensor:
    """Mean over the free latents of |z - z0|^2 (the L2 regulariser of the paper's slides); latents (T, ..., d)."""
    assert latents.shape == initial.shape, (latents.shape, initial.shape)
    return (latents - initial).square().sum(-1).mean()


def rms_distance(latents: Tensor, initial: Tensor) -> float:
    """Root mean square of z - z0 over all coordinates."""
    return float((latents - initial).square().mean().sqrt())


def surprise(logits: Tensor, tokens: Tensor, before: Tensor, temperature: float = 1.0) -> float:
    """How much less likely tokens (T,) are than samples from logits (T, V): the mean of -log p - entropy, in nats.

    Under the logits of the latents before any update it is about 0 for tokens sampled from them, and several nats for
    tokens that the model would not have written there. A token that equals the one of `before` (T or fewer) at its
    position counts 0, so that a supplied text counts only where it changed. A measure of collapse of our own; 0 for no
    tokens.
    """
    if not len(tokens):
        return 0.0
    log_probs = torch.log_softmax(_double(logits) / temperature, -1)
    excess = -log_probs.gather(-1, tokens[:, None])[:, 0] + (log_probs.exp() * log_probs).sum(-1)
    shared = min(len(tokens), len(before))
    excess[:shared] *= tokens[:shared] != before[:shared]
    return float(excess.mean())


def repetition(tokens: tuple[int, ...], length: int = 4) -> float:
    """Share of n-grams that occurred before in the same text: near 0 is prose, above a half is collapse."""
    grams = [tokens[i : i + length] for i in range(len(tokens) - length + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def free_tokens(ratio: float, length: int) -> int:
    """How many latents a ratio frees: floor(ratio * length), at least one for a ratio above zero."""
    return min(length, max(1, int(ratio * length + 1e-9))) if ratio > 0 and length else 0


def _double(logits: Tensor) -> Tensor:
    """In double precision, which mps does not have."""
    return logits.float() if logits.device.type == "mps" else logits.double()
