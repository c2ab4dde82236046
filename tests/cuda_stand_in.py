"""A GPU that is the CPU, so that the code for CUDA runs in tests, line by line.

Tensors on it hold their numbers on the CPU and say that they are on cuda:0; they refuse to meet tensors that are not.
Captured work is recorded operation by operation and run again on the same memory, with the numbers that Python gave it
at the capture: a number that should have changed is noticed. Every operation that waits for the device is counted, and
refused while a graph is captured. What it cannot show is speed, kernels and how they round.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

CUDA = torch.device("cuda", 0)
MEMORY = 2**34
# What reads a value of the device, or needs one to go on.
WAITING = {"tolist", "item", "__bool__", "__int__", "__float__", "__index__", "numpy", "nonzero", "__contains__", "cpu"}
FACTORIES = ("tensor", "zeros", "ones", "empty", "full", "arange", "randn", "rand")


class Stream:
    """A queue of work; here all of it is done at once."""

    def __init__(self, device: Any = None) -> None:
        self.waited_for: list[Any] = []

    def wait_stream(self, other: Any) -> None:
        """Work given from now on comes after that of another stream."""
        self.waited_for.append(other)

    def synchronize(self) -> None:
        """Wait for its work; others' graphs are captured meanwhile."""


@dataclass
class Device:
    """What was done on the device. `free` is its memory, `capturing` the tape of the capture that `thread` runs.

    `largest` is how many bytes one tensor may have, `peak` the most that one had.
    """

    waits: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    capture_modes: list[str] = field(default_factory=list)
    free: int = 2**33
    num_replays: int = 0
    num_emptied: int = 0
    capturing: list[tuple[Any, ...]] | None = None
    thread: int = 0
    sync_debug_mode: str = "default"
    largest: float = float("inf")
    peak: int = 0
    pinned: list[Tensor] = field(default_factory=list)
    default_stream: Stream = field(default_factory=lambda: Stream())
    stacks: dict[int, list[Stream]] = field(default_factory=dict)

    @property
    def streams(self) -> list[Stream]:
        """The streams that this thread has entered."""
        return self.stacks.setdefault(threading.get_ident(), [self.default_stream])

    @property
    def is_on_default_stream(self) -> bool:
        """Whether the current stream is the one that was current at first."""
        return self.streams[-1] is self.default_stream

    def wait(self, reason: str) -> None:
        """Count a wait for the device; refused while a graph is captured."""
        if self.is_capturing():
            raise RuntimeError(f"operation not permitted when stream is capturing: {reason}")
        if self.sync_debug_mode == "error":
            raise RuntimeError(f"called a synchronizing CUDA operation: {reason}")
        if self.sync_debug_mode == "warn":
            warnings.warn(f"called a synchronizing CUDA operation: {reason}", stacklevel=2)
        self.waits.append(reason)

    def is_capturing(self) -> bool:
        """Whether this thread captures a graph."""
        return self.capturing is not None and self.thread == threading.get_ident()

    def allocate(self, size: int) -> None:
        """Note a large tensor; torch's error where it is too large."""
        if size > self.largest:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.peak = max(self.peak, size)


_here = Device()


class OnCuda(Tensor):
    """A tensor on the device."""

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name == "__get__" and func.__self__ is Tensor.device:
            return CUDA
        if name in WAITING:
            _here.wait(name)
        _refuse_strangers(name, args)
        kwargs = {key: None if key == "device" and is_cuda(value) else value for key, value in (kwargs or {}).items()}
        result = _run(func, args, kwargs)
        if name == "cpu":
            return result.as_subclass(Tensor)
        if name == "new_zeros":
            _here.allocate(result.nbytes)
        if _here.capturing is not None and _here.is_capturing() and name != "__get__":
            _here.capturing.append((func, args, kwargs, result))
        return result


def is_cuda(device: Any) -> bool:
    """Whether a device, in any form, is the GPU."""
    return str(device).startswith("cuda")


def _refuse_strangers(name: str, args: tuple[Any, ...]) -> None:
    """Tensors on the CPU meet those of the device in copies, as indices, and as single numbers only."""
    if name in ("copy_", "__getitem__", "__set__", "as_subclass"):
        return
    for tensor in _tensors(args[2:] if name == "__setitem__" else args):
        if not isinstance(tensor, OnCuda) and tensor.ndim:
            raise RuntimeError(f"{name}: expected all tensors to be on the same device, but found cuda:0 and cpu")


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The operation on the CPU, its results on the device."""
    with torch._C.DisableTorchFunctionSubclass():
        if func is torch.mm and "out_dtype" in kwargs:  # the CPU has no such product
            result: Any = func(args[0].to(kwargs["out_dtype"]), args[1].to(kwargs["out_dtype"]))
        else:
            result = func(*args, **kwargs)
        return _on_cuda(result)


def _on_cuda(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value if isinstance(value, OnCuda) else value.as_subclass(OnCuda)
    if isinstance(value, (tuple, list)) and any(isinstance(part, Tensor) for part in value):
        return type(value)([_on_cuda(part) for part in value])
    return value


class Graph:
    """Operations that are run again on the memory they had."""

    def __init__(self) -> None:
        self.tape: list[tuple[Any, ...]] = []

    def replay(self) -> None:
        """Run all of it; where an operation made a tensor, its new numbers go into that tensor."""
        _here.num_replays += 1
        for func, args, kwargs, result in self.tape:
            for old, new in zip(_tensors(result), _tensors(_run(func, args, kwargs)), strict=True):
                if old.data_ptr() != new.data_ptr():
                    with torch._C.DisableTorchFunctionSubclass():
                        old.copy_(new)

    def pool(self) -> object:
        """The memory that graphs share."""
        return "the pool"


@contextmanager
def _capture(graph: Graph, *, pool: Any, stream: Any, capture_error_mode: str) -> Iterator[None]:
    """As `torch.cuda.graph`: a capture that fails leaves its stream current."""
    _here.streams.append(stream)
    _here.capture_modes.append(capture_error_mode)
    _here.capturing, _here.thread = [], threading.get_ident()
    try:
        yield
        graph.tape = _here.capturing
        _here.streams.pop()
    finally:
        _here.capturing = None


class _Event:
    def record(self, stream: Any) -> None:
        _here.events.append("record")

    def synchronize(self) -> None:
        _here.events.append("wait")


@contextmanager
def _on_stream(stream: Any) -> Iterator[None]:
    _here.streams.append(stream)
    yield
    _here.streams.pop()


@contextmanager
def _on_device(device: Any) -> Iterator[None]:
    assert is_cuda(device)
    yield


def _set_stream(stream: Any) -> None:
    _here.streams[1:] = [] if stream is _here.default_stream else [stream]


def _empty_cache() -> None:
    if _here.is_capturing():
        raise RuntimeError("operation not permitted when stream is capturing: empty_cache")
    _here.num_emptied += 1


def _set_sync_debug_mode(mode: str) -> None:
    _here.sync_debug_mode = mode


def _set_fraction(fraction: float) -> None:
    _here.largest = fraction * MEMORY


def _forget_peak(device: Any = None) -> None:
    _here.peak = 0


def _factory(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def make(*args: Any, device: Any = None, pin_memory: bool = False, **settings: Any) -> Tensor:
        made = original(*args, device=None if is_cuda(device) else device, **settings)
        if pin_memory:
            _here.pinned.append(made)
        if is_cuda(device) and original.__name__ == "tensor":
            _here.wait("tensor")  # torch copies a list from memory that is not pinned
        return made.as_subclass(OnCuda) if is_cuda(device) else made

    return make


def _to(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def to(self: Tensor, *args: Any, **settings: Any) -> Tensor:
        device, others = _split(args, settings)
        if device is None or is_cuda(device) is isinstance(self, OnCuda):
            return original(self, **others) if others else self
        if not (others.get("non_blocking") and _is_pinned(self)):
            _here.wait("to cuda" if is_cuda(device) else "to cpu")
        moved = self.clone().as_subclass(OnCuda if is_cuda(device) else Tensor)
        return original(moved, **others) if others else moved

    return to


def _split(args: tuple[Any, ...], settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The device that `Tensor.to` was given, and all else by keyword."""
    others = dict(settings)
    device = others.pop("device", None)
    for each in args:
        if isinstance(each, (str, torch.device)):
            device = each
        elif isinstance(each, torch.dtype):
            others["dtype"] = each
        elif isinstance(each, bool):
            others["non_blocking"] = each
        else:
            assert each is None, "not known to the stand-in"
    return device, others


def _is_pinned(tensor: Tensor) -> bool:
    return any(tensor.untyped_storage().data_ptr() == each.untyped_storage().data_ptr() for each in _here.pinned)


def _module_to(original: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    def to(self: nn.Module, *args: Any, **settings: Any) -> nn.Module:
        return put(self) if is_cuda(_split(args, settings)[0]) else original(self, *args, **settings)

    return to


def put(module: nn.Module) -> nn.Module:
    """All parameters and buffers of a module on the device."""
    for inner in module.modules():
        for name, parameter in inner._parameters.items():
            if parameter is not None:
                moved = parameter.data.as_subclass(OnCuda)
                inner._parameters[name] = nn.Parameter(moved, requires_grad=parameter.requires_grad)
        for name, buffer in inner._buffers.items():
            inner._buffers[name] = None if buffer is None else buffer.as_subclass(OnCuda)
    return module


def install(monkeypatch: pytest.MonkeyPatch) -> Device:
    """One GPU in place of what torch finds; what is done on it is noted in the `Device`."""
    global _here
    _here = Device()
    functions = {
        "is_available": lambda: True, "device_count": lambda: 1, "is_initialized": lambda: True,
        "current_stream": lambda device=None: _here.streams[-1], "set_stream": _set_stream, "stream": _on_stream,
        "device": _on_device, "Stream": Stream, "Event": _Event, "CUDAGraph": Graph, "graph": _capture,
        "empty_cache": _empty_cache, "synchronize": lambda device=None: _here.wait("synchronize"),
        "mem_get_info": lambda device=None: (_here.free, MEMORY), "memory_reserved": lambda device=None: 0,
        "memory_allocated": lambda device=None: 0, "max_memory_allocated": lambda device=None: _here.peak,
        "reset_peak_memory_stats": _forget_peak, "set_per_process_memory_fraction": _set_fraction,
        "set_sync_debug_mode": _set_sync_debug_mode, "is_current_stream_capturing": lambda: _here.is_capturing(),
        "is_bf16_supported": lambda: True, "get_device_capability": lambda device=None: (9, 0),
        "get_device_name": lambda device=None: "a stand-in",
        "get_device_properties": lambda device=None: SimpleNamespace(
            name="a stand-in", total_memory=MEMORY, multi_processor_count=1),
    }  # fmt: skip
    for name, function in functions.items():
        monkeypatch.setattr(torch.cuda, name, function)
    for name in FACTORIES:
        monkeypatch.setattr(torch, name, _factory(getattr(torch, name)))
    generator = torch.Generator
    monkeypatch.setattr(torch, "Generator", lambda device="cpu": generator("cpu" if is_cuda(device) else device))
    monkeypatch.setattr(Tensor, "to", _to(Tensor.to))
    monkeypatch.setattr(nn.Module, "to", _module_to(nn.Module.to))
    return _here
