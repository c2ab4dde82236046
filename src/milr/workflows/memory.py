"""How much memory a run has used at most: of all GPUs where it drew on one, else of the process."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from milr.engine.process_pool import ModelProcessPool

if TYPE_CHECKING:
    from milr.base import UnifiedModel


def reset_peak() -> None:
    """Let a GPU's peak be that of what comes now; the peak of a process cannot be reset."""
    import torch

    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        for index in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(index)


def peak_memory(device: str, model: UnifiedModel) -> int:
    """Bytes used at most since `reset_peak`, in this process and in those that the model works in; `device` as in the
    options."""
    import torch

    elsewhere = model.memory_bytes() if isinstance(model, ModelProcessPool) else 0
    if device.startswith("cuda") or (device == "auto" and torch.cuda.is_initialized()):  # type: ignore[no-untyped-call]
        devices = range(torch.cuda.device_count())  # a judge may be on another one than the model
        return sum(int(torch.cuda.max_memory_allocated(index)) for index in devices) + elsewhere
    try:
        import resource  # not on every system
    except ImportError:
        return elsewhere
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (used if sys.platform == "darwin" else used * 1024) + elsewhere
