"""Reading checkpoints of any kind with transformers: without its output, and every failure is one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from safetensors import SafetensorError
from transformers.utils import logging

from milr.types import MissingError

_DAMAGE = (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, ImportError, SafetensorError)


@contextmanager
def reading(subject: str) -> Iterator[None]:
    """Raise MissingError, in one sentence about `subject`, for all that missing or damaged files raise; `quiet`."""
    try:
        with quiet():
            yield
    except _DAMAGE as error:
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise MissingError(f"{subject} cannot be read ({reason}); fetch them again.") from error


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and log messages of transformers inside the block; its settings are restored."""
    settings: Any = logging
    verbosity, bars = settings.get_verbosity(), settings.is_progress_bar_enabled()
    settings.set_verbosity_error()
    settings.disable_progress_bar()
    try:
        yield
    finally:
        settings.set_verbosity(verbosity)
        if bars:
            settings.enable_progress_bar()
