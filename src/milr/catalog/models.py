"""The models that have a name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milr.catalog.parts import Part
from milr.models.hub_names import plain_name
from milr.types import UsageError

if TYPE_CHECKING:
    from milr.base import UnifiedModel, World


def _nano(quantise: str | None = None, **settings: Any) -> UnifiedModel:
    from milr.models.nano import load_nano

    if quantise:
        raise UsageError("nano is small as it is; leave --quantise out, or name a Janus checkpoint with --model.")
    model = load_nano(**settings)
    model.world = worlds()["shapes"]
    return model


def model_files(name: str) -> list[Path]:
    """The files that a model is loaded from, as far as they are here; nothing is loaded and nothing fetched."""
    if name.rpartition(":")[0].endswith(".py"):
        return [Path(name.rpartition(":")[0])]
    folder = Path(str(resources.files("milr.models"))) / "nano_weights" if name == "nano" else Path(name).expanduser()
    if not folder.is_dir() and "/" in name:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            configuration = try_to_load_from_cache(plain_name(name), "config.json")
        except HFValidationError:  # a path
            return []
        folder = Path(configuration).parent if isinstance(configuration, str) else folder
    return sorted(path for path in folder.glob("*") if path.is_file())


def worlds() -> dict[str, World]:
    """The small worlds that some models draw, by the name that rewards have for them."""
    from milr.shapes.world import ShapesWorld

    return {ShapesWorld.name: ShapesWorld()}


def hub(name: str) -> Callable[..., UnifiedModel]:
    """The factory of a Janus from a folder or hub name."""

    def make(**settings: Any) -> UnifiedModel:
        from milr.models.janus import JanusModel

        return JanusModel.load(name, **settings)

    return make


JANUS_LICENCE = "DeepSeek Model License (its own; see the model's page)"
MODELS = {
    "nano": Part(_nano, "the embedded model: 64 x 64 pictures of coloured shapes, CPU", licence="Apache-2.0"),
    "deepseek-community/Janus-Pro-1B": Part(
        hub("deepseek-community/Janus-Pro-1B"), "Janus-Pro 1B, or a folder with its weights",
        "about 4 GB of weights", JANUS_LICENCE),
    "deepseek-community/Janus-Pro-7B": Part(
        hub("deepseek-community/Janus-Pro-7B"), "Janus-Pro 7B, or a folder with its weights",
        "about 15 GB of weights (6 with --quantise 4bit, 9 with 8bit), a GPU", JANUS_LICENCE),
}  # fmt: skip
