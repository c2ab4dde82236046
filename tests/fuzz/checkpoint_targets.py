"""The JSON of a checkpoint: its index, the headers of its weights, and its configuration."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from pathlib import Path

from milr.models.checkpoint_files import read_json, settings_digest, tensor_headers, weight_files, weights_digest
from milr.types import MilrError


def weight_index(content: bytes, folder: Path) -> None:
    """model.safetensors.index.json."""
    (folder / "model.safetensors.index.json").write_bytes(content)
    weight_files(folder, "m")


def weight_header(content: bytes, folder: Path) -> None:
    """The header of a safetensors file; content that is no JSON object is the whole file."""
    path = folder / "model.safetensors"
    header = struct.pack("<Q", len(content)) if content.lstrip()[:1] == b"{" else b""
    path.write_bytes(header + content)
    files = weight_files(folder, "m")
    weights_digest(files)
    for dtype, shape in tensor_headers(files, "m").values():
        assert isinstance(dtype, str) and all(isinstance(side, int) for side in shape)


def settings_json(content: bytes, folder: Path) -> None:
    """config.json and the processor's file, as far as they are read without a network."""
    for name in ("config.json", "preprocessor_config.json"):
        (folder / name).write_bytes(content)
    assert settings_digest(folder)
    _preprocessing(folder)
    assert isinstance(read_json(folder / "config.json", folder, "m"), dict)


def _preprocessing(folder: Path) -> None:
    from milr.models.checkpoint_errors import reading
    from milr.models.pictures import Preprocessing

    with suppress(MilrError), reading("the processor of m"):
        Preprocessing.of(folder, 32).check_size(32)


_INDEX = {"metadata": {}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
_HEADER = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {"format": "pt"}}
_PROCESSOR = {"image_processor": {"size": {"height": 32}, "min_size": 4, "image_mean": [0.5, 0.5, 0.5]}}
TARGETS = (
    (weight_index, (json.dumps(_INDEX).encode(),), True),
    (weight_header, (json.dumps(_HEADER).encode(), b"version https://git-lfs.github.com/spec/v1\n"), True),
    (settings_json, (json.dumps(_PROCESSOR).encode(), b'{"size": 32}'), True),
)
