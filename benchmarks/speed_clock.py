"""Time and peak memory of a piece of work on the CPU or on CUDA."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from milr.engine.process_pool import private_bytes

_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Timed:
    """Seconds of the work, on the clock and of the CPU (all threads), and the most bytes held meanwhile.

    Bytes are those of the process, on CUDA those of its tensors there; of other processes at work what they hold alone
    at the end.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0


@contextmanager
def timed(device: torch.device, processes: Sequence[int] = ()) -> Iterator[Timed]:
    """Measures its block, and what these processes do meanwhile; on CUDA it waits for the device at both ends."""
    found = Timed()
    _forget_peak(device)
    wait(device)
    began, worked = time.perf_counter(), time.process_time() + cpu_seconds_of(processes)
    yield found
    wait(device)
    found.seconds = time.perf_counter() - began
    found.cpu_seconds = time.process_time() + cpu_seconds_of(processes) - worked
    found.peak_bytes = _peak(device) + sum(map(private_bytes, processes))


def cpu_seconds_of(processes: Sequence[int]) -> float:
    """That other processes have used so far; only Linux knows, elsewhere 0."""
    ticks = 0
    for process in processes if Path("/proc/self/stat").exists() else ():
        told = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(told[11]) + int(told[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _forget_peak(device: torch.device) -> None:
    """Start anew. Only Linux can forget a process's peak; elsewhere it is that of the whole run so far."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _FORGET.exists():
        _FORGET.write_text("5")


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if _STATUS.exists():
        (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
