"""Everything a user may choose for a run, with its defaults. Plain data; loads nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from milr.types import UsageError

OVERRIDES = ("schedule", "steps", "text_ratio", "image_ratio", "learning_rate", "l2", "guidance_scale", "temperature",
             "role_tags")  # fmt: skip


@dataclass(frozen=True)
class Options:
    """Options of `milr.generate` and of the command line; None leaves the choice to the preset, model or reward.

    `threshold` is on the score: the search stops above it. `in_flight` changes speed only.
    """

    model: str = "nano"
    reward: str | None = None
    method: str = "latent_reasoning"
    preset: str = "default"
    schedule: str | None = None
    steps: int | None = None
    threshold: float | None = None
    text_ratio: float | None = None
    image_ratio: float | None = None
    learning_rate: float | None = None
    l2: float | None = None
    guidance_scale: float | None = None
    temperature: float | None = None
    role_tags: str | None = None
    visualisation: str | None = None
    reasoning_prompt: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    seed: int = 0
    samples: int = 1
    in_flight: int = 16

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"the seed cannot be negative; it is {self.seed}.")
        for name in ("samples", "in_flight"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1; it is {getattr(self, name)}.")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise UsageError(f"the threshold is on the score, between 0 and 1, not {self.threshold}.")

    def overrides(self) -> dict[str, Any]:
        """What the user set over the preset (None: nothing)."""
        return {name: getattr(self, name) for name in OVERRIDES}


def read_prompts(path: Path) -> list[str]:
    """Prompts from a file: one a line, or JSON lines with a "prompt" field. Empty lines are skipped."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # not at every Unicode line separator
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read prompts from {path}: {getattr(error, 'strerror', None) or error}.") from error
    texts = [_prompt_of(line, path, number) for number, line in enumerate(lines, 1) if line.strip()]
    if not texts:
        raise UsageError(f"{path} holds no prompts; write one a line.")
    return texts


def _prompt_of(line: str, path: Path, number: int) -> str:
    if path.suffix != ".jsonl":
        return line.strip()
    try:
        text = json.loads(line)["prompt"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f'{path}, line {number}: not a JSON object with a "prompt" field.') from error
    if not isinstance(text, str):
        raise UsageError(f"{path}, line {number}: the prompt is no text.")
    return text.strip()
