"""What can be said of a Janus checkpoint's configuration before anything of it is built. Loads no transformers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from milr.types import MissingError

Headers = Mapping[str, tuple[str, tuple[int, ...]]]
MAX_INTEGER = 2**31  # of any number in a configuration
MAX_DEPTH = 8  # of objects and lists in each other
_COUNTS = ("num_hidden_layers", "num_layers", "depth", "depths", "num_res_blocks", "channel_multiplier",
           "encoder_layers", "decoder_layers", "num_heads", "num_attention_heads", "num_key_value_heads")  # fmt: skip
_FOREIGN_CODE = ("attn_implementation", "_attn_implementation", "experts_implementation", "kernel_config",
                 "use_kernels", "fusion_config")  # fmt: skip
_OWN_KERNELS = (None, False, "eager", "sdpa")


def check_kind(content: Mapping[str, Any], name: str) -> None:
    """MissingError, with what to do, for a configuration of another kind of model."""
    kind = content.get("model_type")
    if kind == "multi_modality":
        raise MissingError(f"{name} is a Janus in DeepSeek's own form (multi_modality): run `milr convert {name} "
                           "FOLDER` and name that folder, or use deepseek-community's copy of it.")  # fmt: skip
    if kind != "janus":
        raise MissingError(f"{name} is a {str(kind)[:40]} checkpoint; milr needs a Janus one in transformers' form.")


def check_values(content: Mapping[str, Any], headers: Headers, name: str) -> None:
    """MissingError for numbers that no checkpoint of this many tensors has, and for code from elsewhere."""
    for key, value in _values(content, name):
        count = len(value) if isinstance(value, list) else value
        if isinstance(count, float) and not math.isfinite(count):
            raise MissingError(f"the config.json of {name} says {key} = {count}, which is no number; fetch it again.")
        if isinstance(count, int) and not -MAX_INTEGER <= count <= MAX_INTEGER:
            raise MissingError(f"the config.json of {name} says a {key} beyond {MAX_INTEGER}; fetch it again.")
        if key in _COUNTS and isinstance(count, int) and count > max(len(headers), 128):
            raise MissingError(f"the config.json of {name} says {key} = {count}, more than its {len(headers)} tensors "
                               "can be; fetch it again.")  # fmt: skip
        if key in _FOREIGN_CODE and value not in _OWN_KERNELS:
            raise MissingError(f"the config.json of {name} asks for code from elsewhere ({key}); take that line out.")


def _values(content: Any, name: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Every number, string and list in a configuration with its key, to any depth."""
    if depth > MAX_DEPTH:
        raise MissingError(f"the config.json of {name} is more than {MAX_DEPTH} objects deep; fetch it again.")
    items = content.items() if isinstance(content, dict) else (("", item) for item in content)
    for key, value in items:
        yield str(key)[:80], value
        if isinstance(value, (dict, list)):
            yield from _values(value, name, depth + 1)
