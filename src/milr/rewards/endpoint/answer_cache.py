"""Judges' answers stored on disk, one JSON file each, so that asking the same question again costs no request."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from milr.types import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class CachedAnswer:
    """A judge's answer, and how many answers it had taken until one could be read."""

    answer: str
    tries: int


class AnswerCache:
    """A folder of answers, which several processes may share. UsageError where the folder cannot be made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{folder} cannot hold answers ({error.strerror}); name another folder.") from None

    @staticmethod
    def key(picture: Image, *question: str) -> str:
        """SHA-256, in hexadecimal digits, of a picture's pixels and of the question, the model and its settings."""
        pixels = picture.convert("RGB")
        digest = sha256(json.dumps([pixels.size, *question]).encode())
        digest.update(pixels.tobytes())
        return digest.hexdigest()

    def load(self, key: str) -> CachedAnswer | None:
        """The answer stored under `key`; None where there is none, or where its file is damaged."""
        try:
            content = json.loads((self.folder / f"{key}.json").read_bytes())
            return CachedAnswer(str(content["answer"]), int(content["tries"]))
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None

    def store(self, key: str, answer: str, *, model: str, tries: int) -> None:
        """Store an answer under a temporary name, then rename it: other processes see the whole file or none."""
        content = json.dumps({"model": model, "answer": answer, "tries": tries}, indent=1)
        handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=".partial")
        try:
            with open(handle, "w", encoding="utf-8") as file:
                file.write(content)
            os.replace(temporary, self.folder / f"{key}.json")
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
