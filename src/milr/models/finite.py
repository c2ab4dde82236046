"""Weights, logits and pixels that are infinite or no numbers (NaN) are errors: nothing is chosen or judged by them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from milr.types import JudgeError, MissingError

ADVICE = "choose another --dtype (bfloat16 and float32 reach further than float16), or fetch its files again"


def is_finite(tensor: Tensor) -> bool:
    """Whether no value of a tensor is infinite or NaN; True for integers."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    lowest, highest = torch.aminmax(tensor)  # both are NaN where any value is; no copy of a large tensor is made
    return bool(lowest.isfinite() & highest.isfinite())


def check_finite(tensor: Tensor, what: str) -> None:
    """JudgeError, which says `what` they are, for values that are infinite or NaN."""
    if not is_finite(tensor):
        raise JudgeError(f"{what} that are infinite or no numbers: {ADVICE}.")


def check_weights(network: Any, name: str) -> None:
    """MissingError for a network with a weight that is infinite or NaN."""
    for key, weight in network.state_dict(keep_vars=True).items():
        if isinstance(weight, Tensor) and not is_finite(weight.detach()):
            raise MissingError(f"the weights of {name} are damaged: {key} holds values that are infinite or no "
                               "numbers; fetch them again.")  # fmt: skip


@torch.inference_mode()
def check_logits(network: Any, token_ids: list[int], name: str) -> None:
    """MissingError for a Janus whose logits after a few tokens are infinite or NaN."""
    ids = torch.tensor([token_ids], device=network.device)
    latents = network.model.language_model(inputs_embeds=network.get_input_embeddings()(ids), use_cache=False)[0]
    for what, logits in (("text", network.lm_head(latents)), ("image", network.model.generation_head(latents))):
        if not is_finite(logits):
            raise MissingError(f"{name} gives {what} logits that are infinite or no numbers: {ADVICE}.")
