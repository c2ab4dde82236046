"""Weights in fewer bits (bitsandbytes, an extra), so that Janus-Pro 7B fits a GPU of 12 to 16 GB.

Only the linear projections of the language model's layers are quantised. What gradients and logits pass through (both
heads), the embeddings, the vision tower, the aligners and the VQ model stay as they are.

`4bit` is NF4 in blocks of 64, multiplied in the model's dtype. `8bit` is LLM.int8 without its outlier columns: those
are sought over all rows of a batch, and what a request draws would depend on its neighbours
(github.com/bitsandbytes-foundation/bitsandbytes/issues/28).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from milr.types import MissingError, UsageError

KINDS = ("8bit", "4bit")
DEVICES = ("cuda", "cpu")
PACKAGES = ("bitsandbytes", "accelerate")  # transformers places quantised weights by the second
BLOCK = 64  # weights that share a scale, in 4 bits
LAYERS = "model.language_model.layers"
_ALL_BUT_THE_LAYERS = rf"(?!{LAYERS.replace('.', '[.]')}[.]).*"


def quantisation_config(kind: str | None, dtype: torch.dtype, device: str) -> Any:
    """The `BitsAndBytesConfig` with which transformers loads "8bit" or "4bit" weights; None for None.

    UsageError for another kind or a device without kernels; MissingError without the extra.
    """
    if kind is None:
        return None
    if kind not in KINDS:
        raise UsageError(f"the quantisation {kind!r} is unknown; use {' or '.join(KINDS)}, or leave it out.")
    if device.split(":")[0] not in DEVICES:
        raise UsageError(f"quantised weights run on cuda and on the CPU, not on {device}; leave --quantise out.")
    for package in PACKAGES:
        if find_spec(package) is None:
            raise MissingError(f"quantised weights need the package {package}: pip install 'milr[quantised]'.")
    from transformers import BitsAndBytesConfig

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it logs a cast at every product
    return BitsAndBytesConfig(
        load_in_8bit=kind == "8bit",
        load_in_4bit=kind == "4bit",
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
        llm_int8_threshold=0.0,
        llm_int8_skip_modules=[_ALL_BUT_THE_LAYERS],
    )


@torch.no_grad()
def warm_up_layers(network: Any) -> None:
    """Call each quantised layer once: at its first call it rearranges its weights, which only one worker may do.

    UsageError where the layers' widths do not divide into blocks.
    """
    for module in _quantised_layers(network):
        if network.config.quantization_config.load_in_4bit and module.in_features % BLOCK:
            raise UsageError(f"4bit is for layers whose width is a multiple of {BLOCK}, not {module.in_features}; "
                             "use --quantise 8bit.")  # fmt: skip
        module(torch.zeros(1, module.in_features, dtype=network.dtype, device=network.device))


def quantisation_identity(network: Any) -> dict[str, str]:
    """What a run's identity says of quantised weights; {} where the weights are not quantised."""
    config = getattr(network.config, "quantization_config", None)
    if config is None:
        return {}
    library = ".".join(version(PACKAGES[0]).split(".")[:2])
    return {"quantised": f"{'4bit' if config.load_in_4bit else '8bit'} ({PACKAGES[0]} {library})"}


def _quantised_layers(network: Any) -> Iterator[Any]:
    """The linear modules of the layers that are no longer torch's own class."""
    for module in network.get_submodule(LAYERS).modules():
        if isinstance(module, nn.Linear) and type(module) is not nn.Linear:
            yield module
