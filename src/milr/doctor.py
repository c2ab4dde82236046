"""What runs here: packages, devices, the embedded weights."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib.metadata import version


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report; `needed` findings decide the exit code."""

    what: str
    ok: bool
    needed: bool = True


PACKAGES = ("torch", "transformers", "safetensors", "pydantic", "typer", "jinja2", "matplotlib")


def findings() -> list[Finding]:
    """Every check, the necessary ones first; only packages, where one is missing."""
    packages = [_package(name) for name in PACKAGES]
    return [*packages, _nano(), _cuda()] if all(package.ok for package in packages) else packages


def _package(name: str) -> Finding:
    if importlib.util.find_spec(name) is None:
        return Finding(f"package {name}: install milr again", False)
    return Finding(f"package {name} {version(name)}", True)


def _nano() -> Finding:
    from milr.models.nano import load_nano
    from milr.types import MilrError

    try:
        identity = load_nano().identity()
    except MilrError as error:
        return Finding(str(error), False)
    return Finding(f"model nano loads ({identity['weights'][:12]}); it runs on any CPU", True)


def _cuda() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("a CUDA GPU: Janus-Pro-1B and -7B are slow without one, nano needs none", False, needed=False)
    name, memory = torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory / 2**30
    return Finding(f"CUDA GPU {name}, {memory:.0f} GiB", True, needed=False)
