"""Where a network is computed, and in which dtype."""

from __future__ import annotations

import re

import torch

from milr.types import UsageError

_DEVICE = re.compile(r"(cpu|cuda|mps)(?::(\d{1,4}))?")
CACHE_SHARE = 10  # of the free memory one part; the rest is for the batches themselves
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(device: str) -> str:
    """`auto` is cuda where there is one, else the CPU; mps must be asked for by name and is untested.

    UsageError, with what there is, for a device that is not here.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    match = _DEVICE.fullmatch(device)
    if match is None or int(match.group(2) or 0) >= _num_devices(match.group(1)):
        raise UsageError(f"the device {device[:40]!r} is not available here: there is {_describe_devices()}; "
                         "use --device auto, or one of these.")  # fmt: skip
    return device


def _num_devices(kind: str) -> int:
    """How many devices of a kind there are here."""
    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    return int(kind == "cpu" or torch.backends.mps.is_available())


def _describe_devices() -> str:
    """The devices of this machine, in words."""
    count = _num_devices("cuda")
    cuda = [f"cuda:{index}" for index in range(min(count, 3))]
    if count > 3:
        cuda = ["cuda:0", f"... cuda:{count - 1}"]
    names = ["cpu", *(["mps"] if _num_devices("mps") else []), *cuda]
    return ", ".join(names) if cuda else f"{' and '.join(names)}, and no CUDA GPU that torch sees"


def prepare_cuda() -> None:
    """Settings of torch for all that this process computes on CUDA.

    cuDNN's attention builds a plan for every exact shape, tens of milliseconds each, and a search makes hundreds of
    shapes; sums of bfloat16 products are kept in float32, so that other rows in a batch change them less.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


def default_cache_bytes(device: torch.device, least: int) -> int:
    """How many bytes of keys and values to keep for later sequences: on CUDA a tenth of the memory that is free."""
    if device.type != "cuda":
        return least
    return free_bytes(device) // CACHE_SHARE


def free_bytes(device: torch.device) -> int:
    """How many bytes of a GPU can be allocated: what the driver has, and what torch holds without using it."""
    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


def free_unused(device: torch.device) -> None:
    """Give a GPU's memory that torch holds without using it back to the driver; nothing on other devices."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def choose_dtype(dtype: str, device: str) -> torch.dtype:
    """`auto` is bfloat16 on cuda and float32 elsewhere."""
    if dtype == "auto":
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    if dtype not in DTYPES:
        raise UsageError(f"the dtype {dtype!r} is unknown; use auto, float32, bfloat16 or float16.")
    return DTYPES[dtype]
