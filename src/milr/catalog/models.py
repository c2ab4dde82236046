"""The models that have a name."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
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
    name = name.removeprefix(PIPELINE)
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


def pipeline(name: str) -> Callable[..., UnifiedModel]:
    """The factory of a diffusers pipeline from a folder or hub name, with the prompt model that its settings name."""

    def make(*, prompt_model: str | None = None, quantise: str | None = None, denoising_steps: int | None = None,
             **settings: Any) -> UnifiedModel:  # fmt: skip
        from milr.models.pipeline import PipelineModel

        if quantise and not prompt_model:
            raise UsageError(f"{PIPELINE}{name} is not quantised: leave --quantise out, or give a --prompt-model.")
        beside = _prompt_model(prompt_model, quantise, settings) if prompt_model else None
        return PipelineModel.load(name, dtype=settings.get("dtype", "auto"), device=settings.get("device", "auto"),
                                  prompt_model=beside, denoising_steps=denoising_steps)  # fmt: skip

    return make


def _prompt_model(name: str, quantise: str | None, settings: dict[str, Any]) -> Any:
    """A unified model by its name, else any chat model of transformers."""
    from milr.models.chat_writer import ChatWriter

    if name.startswith(PIPELINE):
        raise UsageError(f"{name} draws and does not write: name a chat model, nano or a Janus as --prompt-model.")
    packing = {"quantise": quantise} if quantise else {}
    if name in MODELS:
        return MODELS[name].make(**settings, **packing)
    if model_type(name) in UNIFIED:
        return hub(name)(**settings, **packing)
    if quantise:
        raise UsageError(f"{name} is not quantised: leave --quantise out.")
    chosen = ("dtype", "device", "reasoning_prompt")
    return ChatWriter.load(name, **{key: settings[key] for key in chosen if key in settings})


def model_type(name: str) -> str:
    """What the configuration of a model, as far as it is here, says that it is; "" where it says nothing."""
    for file in model_files(name):
        if file.name == "config.json":
            with suppress(ValueError, OSError):
                content = json.loads(file.read_bytes())
                return str(content.get("model_type", "")) if isinstance(content, dict) else ""
    return ""


PIPELINE = "diffusers:"  # before the name of a pipeline
UNIFIED = ("janus", "multi_modality")
JANUS_LICENCE = "DeepSeek Model License (its own; see the model's page)"
MODELS = {
    "nano": Part(_nano, "the embedded model: 64 x 64 pictures of coloured shapes, CPU", licence="Apache-2.0"),
    "deepseek-community/Janus-Pro-1B": Part(
        hub("deepseek-community/Janus-Pro-1B"), "Janus-Pro 1B, or a folder with its weights",
        "about 4 GB of weights", JANUS_LICENCE),
    "deepseek-community/Janus-Pro-7B": Part(
        hub("deepseek-community/Janus-Pro-7B"), "Janus-Pro 7B, or a folder with its weights",
        "about 15 GB of weights (6 with --quantise 4bit, 9 with 8bit), a GPU", JANUS_LICENCE),
    f"{PIPELINE}NAME": Part(
        pipeline("NAME"), "any text-to-image pipeline of diffusers, by folder or hub name; it only draws, so give it a "
        "--prompt-model that writes and answers; no latents", "the extra milr[diffusers], the pipeline's weights",
        "that of the pipeline"),
}  # fmt: skip
