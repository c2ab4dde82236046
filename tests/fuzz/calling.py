"""One input through one target: nothing, or the exception that should not have come out."""

from __future__ import annotations

import logging
import traceback
import warnings
from pathlib import Path

from fuzz.targets import Target
from milr.types import MilrError


def problem_of(target: Target, content: bytes, folder: Path) -> BaseException | None:
    """What came out of the target beside MilrError; `folder` is empty before and need not be after."""
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.run(content, folder)
    except MilrError:
        return None
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:  # a PanicException of Rust's libraries is no Exception
        return error
    finally:
        logging.disable(logging.NOTSET)
    return None


def kind_of(problem: BaseException) -> str:
    """A name for problems that are the same: the exception and the last line of ours that it went through."""
    frames = [frame for frame in traceback.extract_tb(problem.__traceback__) if "/milr/" in frame.filename]
    frames = frames or traceback.extract_tb(problem.__traceback__)[-1:]
    return f"{type(problem).__name__} {Path(frames[-1].filename).name} {frames[-1].lineno} {frames[-1].name}"
