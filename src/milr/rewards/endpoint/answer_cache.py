"""Judges' answers stored on disk, one JSON file each, so that asking the same question again costs no request."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from milr.types import UsageError

MAX_FILE = 4 * 2**20  # bytes of a stored answer that is read
MAX_TRIES = 1000  # that a stored answer may say

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class CachedAnswer:
    """A judge's answer, and how many answers it had taken until one could be read."""

    answer: str
    tries: int


class AnswerCache:
    """A folder of answers, which several processes may share.

    It spares requests and nothing else: where it is full, damaged or cannot be written, questions are asked again.
    UsageError where a file stands in place of the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise UsageError(f"{folder} cannot hold answers ({error.strerror}); name another folder with MILR_CACHE."
                             ) from None  # fmt: skip
        except OSError:  # a disk that is full or read-only
            pass

    @staticmethod
    def key(picture: Image | None, *question: str) -> str:
        """SHA-256, in hexadecimal digits, of a picture's pixels and of the question, the model and its settings."""
        if picture is None:
            return sha256(json.dumps(question).encode()).hexdigest()
        pixels = picture.convert("RGB")
        digest = sha256(json.dumps([pixels.size, *question]).encode())
        digest.update(pixels.tobytes())
        return digest.hexdigest()

    def load(self, key: str) -> CachedAnswer | None:
        """The answer stored under `key`; None where there is none, or where its file is damaged."""
        path = self.folder / f"{key}.json"
        try:
            if not path.is_file() or path.stat().st_size > MAX_FILE:
                return None
            content = json.loads(path.read_bytes())
            answer, tries = content["answer"], content["tries"]
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        whole = type(answer) is str and type(tries) is int and 1 <= tries <= MAX_TRIES
        return CachedAnswer(answer, tries) if whole else None

    def store(self, key: str, answer: str, *, model: str, tries: int) -> None:
        """Store an answer under a temporary name, then rename it: other processes see the whole file or none.

        An answer that cannot be stored is not.
        """
        content = json.dumps({"model": model, "answer": answer, "tries": tries}, indent=1)
        with suppress(OSError):
            self._write(key, content)

    def _write(self, key: str, content: str) -> None:
        handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=".partial")
        try:
            with open(handle, "w", encoding="utf-8") as file:
                file.write(content)
            os.replace(temporary, self.folder / f"{key}.json")
        except BaseException:
            with suppress(OSError):
                Path(temporary).unlink(missing_ok=True)
            raise
