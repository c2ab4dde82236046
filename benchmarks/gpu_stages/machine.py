"""Stage 0, what the machine is, and stage 13, what is said where something is not there."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import random_janus
import speed_limits
import torch

from gpu_stages.finding import Card, Finding
from milr.models.devices import choose_device
from milr.models.janus import JanusModel
from milr.types import JudgeError, MilrError, UsageError

PACKAGES = ("torch", "transformers", "numpy", "tokenizers", "safetensors", "pydantic", "bitsandbytes", "accelerate")


def machine(card: Card) -> Iterator[Finding]:
    """Versions, memory, and the rates that speeds are held against."""
    yield Finding("versions", None, {"python": platform.python_version(), "cuda": torch.version.cuda,
                                     **{name: _version(name) for name in PACKAGES}})  # fmt: skip
    if card.is_cuda:
        properties = torch.cuda.get_device_properties(0)
        free, total = torch.cuda.mem_get_info()
        yield Finding("the card computes in bfloat16", torch.cuda.is_bf16_supported(),
                      {"name": properties.name, "capability": list(torch.cuda.get_device_capability()),
                       "multiprocessors": properties.multi_processor_count, "gib": total / 2**30,
                       "free_gib": free / 2**30, "cores": os.cpu_count()})  # fmt: skip
    else:
        yield Finding("no GPU: small shapes on the CPU", None, {"name": "cpu", "cores": os.cpu_count()})
    limits = speed_limits.measure(card.device, torch.bfloat16 if card.is_cuda else torch.float32)
    yield Finding("rates", None, {"copy_gb_per_second": limits.bandwidth / 1e9,
                                  "matmul_tflops": limits.arithmetic / 1e12})  # fmt: skip


def messages(card: Card) -> Iterator[Finding]:
    """A wrong device, and memory that does not hold a model, are one sentence each."""
    for name in ("cuda:x", "cuda:77", "cuda:00000"):
        yield _says(f"--device {name}", UsageError, "not available here", lambda name=name: choose_device(name))
    if card.is_cuda:
        yield _says("loading into too little memory", JudgeError, "memory does not hold", _load_into_little)


def _says(what: str, kind: type[MilrError], words: str, work: Callable[[], object]) -> Finding:
    try:
        work()
    except MilrError as error:
        return Finding(what, isinstance(error, kind) and words in str(error), {"says": str(error)})
    return Finding(what, False, {"says": "nothing"})


def _load_into_little() -> None:
    with tempfile.TemporaryDirectory() as folder:
        random_janus.save("w512", Path(folder))
        torch.cuda.set_per_process_memory_fraction(0.0005)  # less than a hundred MB
        JanusModel.load(folder, device="cuda")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not here"
