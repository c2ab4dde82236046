"""Presets (PAPER.md 3): each a set of single values that flags override. Plain data; loads nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from milr.types import UsageError

JANUS_FREE_IMAGE_TOKENS = 11  # floor(0.02 * 576)

PAPER: dict[str, Any] = {
    "schedule": "joint",
    "steps": 20,
    "text_ratio": 0.2,
    "image_ratio": 0.02,
    "learning_rate": 0.03,
    "l2": 0.0,
    "temperature": 1.0,
    "guidance_scale": None,  # the model's own
    "credit": "executed",
    "epsilon": {},
    "dtype": "float32",
    "returns": "best",
    "role_tags": "pipe",
}
# The authors' release: argmax credit although image tokens are sampled, its epsilons (the image's only where the image
# moves alone), latents in the weights' dtype, the last picture, `User` without the special tag, and its quirks.
RELEASED = PAPER | {
    "credit": "argmax",
    "epsilon": {"text": 1e-8, "image": 0.0},
    "dtype": "model",
    "returns": "last",
    "role_tags": "plain",
    "quirks": {  # latent/released.py says what each of them is
        "open_prefix": True,
        "bare_image_only": True,
        "later_role_tags": "pipe",
        "logits_dtype": "model",
        "strip_content": True,
        "no_minimum": True,
        "compare_rewards": True,
    },
}
SCALED = PAPER | {"image_ratio": None}  # as many free image tokens as Janus-Pro has
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "default": SCALED | {"learning_rate": 0.01},  # on nano's development prompts better than 0.03 (docs/results.md)
    "paper": PAPER,
    "paper-scaled": SCALED,
    "released": RELEASED,
}


def resolve(preset: str, image_tokens: int, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The preset's values with the user's (those that are not None) over them, checked."""
    values = dict(PRESETS[preset])
    values |= {name: value for name, value in overrides.items() if value is not None}
    if values["image_ratio"] is None:
        values["image_ratio"] = min(1.0, JANUS_FREE_IMAGE_TOKENS / max(1, image_tokens))
    if preset == "released" and values["schedule"] == "image":
        values["epsilon"] = {"image": 1e-8}
    if preset == "released" and overrides.get("role_tags") is not None:
        values["quirks"] = {**values["quirks"], "later_role_tags": None}  # the user's tags are for every picture
    _check(values)
    return values


def _check(values: Mapping[str, Any]) -> None:
    for name in ("text_ratio", "image_ratio"):
        if not 0 < values[name] <= 1:
            raise UsageError(f"{name} is a share of the tokens, above 0 and at most 1, not {values[name]}.")
    for name in ("steps", "learning_rate", "l2"):
        if not 0 <= values[name] < math.inf:
            raise UsageError(f"{name} must be a number from 0 up; it is {values[name]}.")
    if not 0 < values["temperature"] < math.inf:
        raise UsageError(f"temperature must be above 0; it is {values['temperature']}.")
    scale = values["guidance_scale"]
    if scale is not None and not 0 <= scale <= 100:
        raise UsageError(f"guidance_scale lies between 0 and 100, not {scale}.")
