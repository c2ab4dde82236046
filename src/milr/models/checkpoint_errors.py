"""Reading checkpoints of any kind: every failure is one sentence, and transformers writes nothing meanwhile."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from milr.outside.memory import is_out_of_memory
from milr.types import JudgeError, MilrError, MissingError

_PACKAGE = Path(__file__).parents[1]
MAX_REASON = 160  # characters of a library's message that are repeated


@contextmanager
def reading(subject: str, advice: str = "fetch them again") -> Iterator[None]:
    """`explained` and `quiet`: for what transformers reads."""
    with explained(subject, advice), quiet():
        yield


@contextmanager
def explained(subject: str, advice: str = "fetch them again") -> Iterator[None]:
    """Raise MissingError, in one sentence about `subject`, for whatever missing or damaged files raise.

    JudgeError where memory does not hold what is read. A MilrError of the block is raised as it is, and so is a mistake
    in milr's own code.
    """
    try:
        yield
    except MilrError:
        raise
    except BaseException as error:
        if _is_our_mistake(error):
            raise
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # that of Rust's libraries
            raise
        if is_out_of_memory(error):
            raise JudgeError(f"memory does not hold {subject}: use a smaller model, --quantise, --dtype bfloat16, or a "
                             "machine with more.") from error  # fmt: skip
        lines = [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]
        raise MissingError(f"{subject} cannot be read ({' '.join(lines)[:MAX_REASON]}); {advice}.") from error


def _is_our_mistake(error: BaseException) -> bool:
    """Whether a line of this package, and no library, raised an error that no content of a file can cause."""
    frames = list(traceback.walk_tb(error.__traceback__))
    if not Path(frames[-1][0].f_code.co_filename).is_relative_to(_PACKAGE):
        return False
    if isinstance(error, AttributeError):  # of what no file can be read into
        return isinstance(error.obj, ModuleType) or str(getattr(error.obj, "__module__", "")).startswith("milr.")
    return isinstance(error, (NameError, AssertionError, ImportError, NotImplementedError))


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and log messages of transformers inside the block; its settings are restored."""
    from transformers.utils import logging  # takes longer to load than all that does without it

    with quiet_logging(logging):
        yield


@contextmanager
def quiet_logging(settings: Any) -> Iterator[None]:
    """The same of the library whose module of logging settings this is: transformers' or diffusers'."""
    verbosity, bars = settings.get_verbosity(), settings.is_progress_bar_enabled()
    settings.set_verbosity_error()
    settings.disable_progress_bar()
    try:
        yield
    finally:
        settings.set_verbosity(verbosity)
        if bars:
            settings.enable_progress_bar()
