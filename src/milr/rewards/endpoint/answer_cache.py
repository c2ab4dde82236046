"""Judges' answers kept on disk, one file each, so that asking the same thing again costs nothing."""

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
class KeptAnswer:
    """What a judge said, and how often it had been asked until that could be read."""

    answer: str
    tries: int


class AnswerCache:
    """A folder of answers; several processes may share it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{folder} cannot hold answers ({error.strerror}); name another folder.") from None

    @staticmethod
    def name(picture: Image, *asked: str) -> str:
        """SHA-256 of a picture's pixels and of what was asked: the filled question, the model and its settings."""
        pixels = picture.convert("RGB")
        mark = sha256(json.dumps([pixels.size, *asked]).encode())
        mark.update(pixels.tobytes())
        return mark.hexdigest()

    def find(self, name: str) -> KeptAnswer | None:
        """The answer kept under `name`; None where there is none or its file is damaged (it is then asked anew)."""
        try:
            kept = json.loads((self.folder / f"{name}.json").read_bytes())
            return KeptAnswer(str(kept["answer"]), int(kept["tries"]))
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None

    def keep(self, name: str, model: str, answer: str, tries: int) -> None:
        """Keep an answer: whole or not at all."""
        content = json.dumps({"model": model, "answer": answer, "tries": tries}, indent=1)
        handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=".partial")
        try:
            with open(handle, "w", encoding="utf-8") as file:
                file.write(content)
            os.replace(temporary, self.folder / f"{name}.json")
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
