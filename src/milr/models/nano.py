"""nano: the small Janus that ships inside the package, with the wording it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from milr.models.janus import JanusModel
from milr.models.plain.loading import is_plain, read_plain
from milr.templates import NANO, RoleTags
from milr.types import MissingError

if TYPE_CHECKING:
    import torch

    from milr.models.loading import Checkpoint

GUIDANCE = 1.25
"""Where guidance helps nano most (docs/nano.md)."""
SHIPPED_FILES = "sha256:05fee0fac665d8c5b97594a1f58baa586cfbeca157f485499481db24f58420e2"
"""Hash of nano's configuration, tokenizer and processor as they ship with its weights: those of every run so far, so
that an identity need not say it."""


class NanoModel(JanusModel):
    """A `JanusModel` that is read without transformers, where its configuration is as plain as nano's."""

    @classmethod
    def _read(cls, checkpoint: Checkpoint, dtype: torch.dtype, device: str, quantisation: Any) -> tuple[Any, Any]:
        if quantisation or not is_plain(checkpoint):
            return super()._read(checkpoint, dtype, device, quantisation)
        return read_plain(checkpoint, dtype=dtype, device=device)


def folder() -> Path:
    """Where the embedded weights live."""
    return Path(__file__).with_name("nano_weights")


def load_nano(
    *,
    dtype: str = "auto",
    device: str = "auto",
    role_tags: RoleTags | None = None,
    reasoning_prompt: str | None = None,
    question: str | None = None,
    guidance_scale: float = GUIDANCE,
) -> NanoModel:
    """The embedded model; "auto" is float32 on the CPU: fast enough, and how the published numbers were measured."""
    if not (folder() / "config.json").is_file():
        raise MissingError("nano's weights are not in this installation; install the milr package again.")
    model = NanoModel.load(
        folder(),
        dtype="float32" if dtype == "auto" else dtype,
        device="cpu" if device == "auto" else device,
        role_tags=role_tags,
        reasoning_prompt=reasoning_prompt,
        question=question,
        templates=NANO,
        guidance_scale=guidance_scale,
        name="nano",
    )
    model.shipped_files = SHIPPED_FILES
    return model
