"""What an object that a user gave is called in a run, and what tells it from another: its code and its state."""

from __future__ import annotations

import functools
import hashlib
import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from milr.types import UsageError

_PROCESS = uuid4().hex  # part of what cannot be described, so that another process does not take it for the same


def object_name(part: Any, taken: Any = ()) -> str:
    """Its `name`, or the name in its module; with a mark of its identity where that says not which one it is (lambdas,
    inner functions, partials, objects without a name) and where the name is one of `taken`.

    UsageError for what cannot be a part of a run.
    """
    own = getattr(part, "name", None)
    if isinstance(own, str) and own and not inspect.isclass(part):
        return f"{type(part).__module__}.{own}" if own in taken else own
    if not callable(part) and not hasattr(part, "score"):
        raise UsageError(f"{part!r} is neither a name nor a model, a reward, a method or a function.")
    named = isinstance(part, (type, types.FunctionType, types.BuiltinFunctionType))
    name = f"{(part if named else type(part)).__module__}.{(part if named else type(part)).__qualname__}"
    return name if named and "<" not in name else f"{name}#{object_identity(part)[:8]}"


def object_identity(part: Any) -> str:
    """SHA-256 of the code and the state of a function, a partial, a class or an object.

    Code is that of the file it comes from, else (in a notebook) its own. State is what a function holds (defaults,
    closure, but for lists, dicts and sets in it, which functions fill), a partial's arguments, an object's
    `identity()` or its attributes. What shows no value in words, such as a
    network, counts as this process's own: give such a reward or method an `identity()`.
    """
    text = "\0".join(_described(part, depth=0))
    return hashlib.sha256(text.encode()).hexdigest()


def _described(part: Any, depth: int) -> Iterator[str]:
    if depth > 4:
        yield f"too deep, {_PROCESS} {id(part)}"
    elif isinstance(part, functools.partial):
        yield "partial"
        for inner in (part.func, list(part.args), part.keywords):
            yield from _described(inner, depth + 1)
    elif isinstance(part, types.MethodType):
        yield from _described(part.__func__, depth + 1)
        yield from _described(part.__self__, depth + 1)
    elif isinstance(part, types.FunctionType):
        yield from _function(part, depth)
    elif isinstance(part, type):
        yield f"{part.__module__}.{part.__qualname__}"
        yield _source(part)
    elif isinstance(part, (dict, list, tuple, set, frozenset)):
        yield type(part).__name__
        items = sorted(part.items(), key=repr) if isinstance(part, dict) else sorted(part, key=repr) if isinstance(
            part, (set, frozenset)) else part  # fmt: skip
        for item in items:
            yield from _described(item, depth + 1)
    elif isinstance(part, (str, bytes, int, float, complex, bool, Path, type(None))):
        yield repr(part)
    else:
        yield from _instance(part, depth)


def _function(function: types.FunctionType, depth: int) -> Iterator[str]:
    yield _source(function)
    yield from _code(function.__code__)
    cells = [type(value) if isinstance(value, (list, dict, set)) else value
             for value in (cell.cell_contents for cell in function.__closure__ or ())]  # fmt: skip
    for value in (function.__defaults__, function.__kwdefaults__, cells):
        yield from _described(value, depth + 1)


def _code(code: types.CodeType) -> Iterator[str]:
    """What a function computes, without where it stands."""
    yield f"{code.co_code.hex()} {code.co_names} {code.co_varnames}"
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code(constant)
        else:
            yield repr(constant)


def _instance(part: Any, depth: int) -> Iterator[str]:
    yield from _described(type(part), depth + 1)
    identity = getattr(part, "identity", None)
    if callable(identity):
        yield from _described(dict(identity()), depth + 1)
    elif hasattr(part, "__dict__") and repr(part) == object.__repr__(part):
        yield from _described(vars(part), depth + 1)
    else:
        words = repr(part)
        yield f"{words} {_PROCESS} {id(part)}" if " at 0x" in words or len(words) > 10_000 else words


def _source(part: Any) -> str:
    """The hash of the file a function or class comes from; "" where there is none."""
    try:
        path = inspect.getsourcefile(part)
        return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else ""
    except (OSError, TypeError):  # built in, or typed into an interpreter
        return ""
