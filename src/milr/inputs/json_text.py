"""JSON that others wrote, within bounds: `json.loads` raises RecursionError for deep values and is slow for others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 64  # lists and objects inside each other
NOT_JSON = (ValueError, RecursionError, MemoryError)  # what the standard parser may raise


class JsonError(ValueError):
    """What is wrong with a JSON text, as the end of a sentence: `is not JSON (...)`, `is nested deeper than ...`."""


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; JsonError where it is not JSON, or nested deeper than MAX_DEPTH."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise JsonError(too_deep()) from None
    except NOT_JSON as error:
        raise JsonError(f"is not JSON ({_reason(error)})") from None
    check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """JsonError where lists and mappings are nested deeper than MAX_DEPTH, or without end."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for outer in level if isinstance(outer, (Mapping, list, tuple))
                 for inner in (outer.values() if isinstance(outer, Mapping) else outer)]  # fmt: skip
        if not level:
            return
    raise JsonError(too_deep())


def too_deep() -> str:
    """The end of the sentence about a value that is nested too deep."""
    return f"is nested deeper than {MAX_DEPTH} levels"


def _reason(error: BaseException) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, line {error.lineno}" if error.lineno > 1 else error.msg
    return "a number has too many digits" if "digits" in str(error) else str(error) or type(error).__name__
