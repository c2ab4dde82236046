"""Loading a diffusers pipeline: from a folder or the hub, its own classes, safetensors only, errors in one sentence."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from milr.models.checkpoint_errors import quiet_logging, reading
from milr.models.checkpoint_files import check_file, read_json, weights_digest
from milr.models.devices import choose_device, choose_dtype, prepare_cuda
from milr.models.hub_names import is_hub_name, plain_name
from milr.models.loading import is_folder
from milr.types import MissingError, UsageError

INDEX = "model_index.json"
SETTINGS = (".json", ".txt", ".model", ".jinja")


@dataclass(frozen=True)
class LoadedPipeline:
    """A pipeline, its folder, and the names of what its call takes."""

    name: str
    folder: Path
    pipeline: Any
    dtype: str
    device: str

    @property
    def takes(self) -> dict[str, Any]:
        """The parameters of its call with their defaults."""
        return {name: parameter.default for name, parameter in _parameters(self.pipeline).items()}

    def identity(self) -> dict[str, Any]:
        """What tells two pipelines apart: class, weights, settings."""
        return {"pipeline": type(self.pipeline).__name__, "weights": weights_digest(_weights(self.folder)),
                "files": _settings_digest(self.folder)}  # fmt: skip


def load_pipeline(name: str, *, dtype: str = "auto", device: str = "auto") -> LoadedPipeline:
    """The pipeline in a folder or hub repository; MissingError where it is not here, or draws from no text alone."""
    if find_spec("diffusers") is None:
        raise MissingError("a model diffusers:NAME needs the package diffusers: pip install 'milr[diffusers]'.")
    chosen_device = choose_device(device)
    chosen_dtype = choose_dtype(dtype, chosen_device)
    if chosen_device.startswith("cuda"):
        prepare_cuda()
    with _quiet_diffusers():
        from diffusers import DiffusionPipeline

        folder = _folder(plain_name(name))
        for path in _weights(folder):
            check_file(path, folder, name)
        with reading(f"the pipeline {name}"):
            pipeline = DiffusionPipeline.from_pretrained(
                folder, dtype=chosen_dtype, use_safetensors=True, local_files_only=True
            )
            _check_call(pipeline, name)
            pipeline.set_progress_bar_config(disable=True)
            pipeline = pipeline.to(chosen_device)
    return LoadedPipeline(name, folder, pipeline, str(chosen_dtype).removeprefix("torch."), chosen_device)


def _folder(name: str) -> Path:
    """A folder as it is; of a hub repository the files that its pipeline reads, from the cache or the network."""
    path = Path(name).expanduser()
    if is_folder(path):
        if not (path / INDEX).is_file():
            raise MissingError(f"{name} holds no {INDEX}: name the folder of a whole diffusers pipeline.")
        read_json(path / INDEX, path, name)
        return path
    if not is_hub_name(name):
        raise MissingError(f"there is no folder {name[:200]}; name a folder with a diffusers pipeline, or a hub "
                           "repository (owner/name).")  # fmt: skip
    from diffusers import DiffusionPipeline

    try:
        return Path(DiffusionPipeline.download(name, use_safetensors=True))
    except Exception as error:  # the hub's many errors share no base; each means that the files are not here
        raise MissingError(f"{name} is neither a folder nor available from the hub ({type(error).__name__}): download "
                           "it where there is a network, then give the folder.") from error  # fmt: skip


def _check_call(pipeline: Any, name: str) -> None:
    """UsageError for a pipeline that needs something else than a text, such as a picture."""
    parameters = _parameters(pipeline)
    needed = [each for each, parameter in parameters.items()
              if parameter.default is inspect.Parameter.empty and each != "prompt"]  # fmt: skip
    if "prompt" not in parameters or "image" in list(parameters)[:2] or needed:
        raise UsageError(f"{name} ({type(pipeline).__name__}) draws no picture from a text alone: name a text-to-image "
                         "pipeline.")  # fmt: skip


def _parameters(pipeline: Any) -> dict[str, inspect.Parameter]:
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = inspect.signature(type(pipeline).__call__).parameters
    return {name: each for name, each in parameters.items() if name != "self" and each.kind not in kinds}


def _weights(folder: Path) -> list[Path]:
    """The safetensors files of the pipeline's parts, each in a folder of its own."""
    return sorted(folder.glob("*/*.safetensors"))


def _settings_digest(folder: Path) -> str:
    """sha256 over the small files of the pipeline and its parts, with their names."""
    files = sorted(path for path in (*folder.glob("*"), *folder.glob("*/*")) if path.suffix in SETTINGS)
    lines = [f"{path.relative_to(folder).as_posix()} {sha256(path.read_bytes()).hexdigest()}" for path in files]
    return sha256("\n".join(lines).encode()).hexdigest()


@contextmanager
def _quiet_diffusers() -> Iterator[None]:
    """No progress bars and log messages of diffusers inside the block; its settings are restored."""
    from diffusers.utils import logging

    with quiet_logging(logging):
        yield
