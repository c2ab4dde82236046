"""The wording in which a judge is asked: ours, or a file of the user's; and a mark that tells wordings apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from milr.types import UsageError

OWN = "own wording (not comparable with published numbers)"
NEEDED = {"judge": ("prompt",), "wise": ("prompt", "explanation"), "unified": ("prompt",), "self": ("prompt",)}
_FOLDER = Path(__file__).with_name("wordings")


@dataclass(frozen=True)
class Wording:
    """A question with placeholders in braces, and the label that is told after the table of `bench` and `score`."""

    text: str
    label: str = OWN

    @staticmethod
    def load(name: str, file: Path | None = None) -> Wording:
        """Our own wording for the reward `name` (a key of NEEDED), or the text of `file` in its place.

        A file that cannot be read, or that lacks a placeholder the reward needs, is a UsageError.
        """
        if file is None:
            return Wording((_FOLDER / f"{name}.txt").read_text(encoding="utf-8").strip())
        try:
            text = file.read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise UsageError(f"the judge template {file} cannot be read ({why}); name a text file.") from None
        absent = [f"{{{field}}}" for field in NEEDED[name] if f"{{{field}}}" not in text]
        if absent:
            raise UsageError(f"the judge template {file} lacks {' and '.join(absent)}; write it where that belongs.")
        return Wording(text, f"template {file}")

    @property
    def mark(self) -> str:
        """SHA-256 of the text, in hexadecimal."""
        return sha256(self.text.encode()).hexdigest()

    def fill(self, **values: str) -> str:
        """The question with its placeholders replaced, all at once: braces in a prompt stay what they are."""
        names = "|".join(map(re.escape, values))
        return re.sub(rf"\{{({names})\}}", lambda found: values[found[1]], self.text)
