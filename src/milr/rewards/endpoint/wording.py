"""The wording in which a judge model is asked: our own text, or a file of the user's in its place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from milr.inputs.text import read_template
from milr.types import UsageError

OWN_LABEL = "own wording (not comparable with published numbers)"
PLACEHOLDERS = {"judge": ("prompt",), "wise": ("prompt", "explanation"), "wise-verified": ("prompt", "explanation"),
                "unigenbench": ("prompt", "testpoints"), "unified": ("prompt",), "self": ("prompt",)}  # fmt: skip
SEPARATOR = "\n---\n"  # between a system turn and the question
_FOLDER = Path(__file__).with_name("wordings")


@dataclass(frozen=True)
class Wording:
    """A question with placeholders in braces ("{prompt}"), and the label under which `bench` and `score` name it."""

    text: str
    label: str = OWN_LABEL

    @staticmethod
    def load(name: str, file: Path | None = None) -> Wording:
        """The text of `file`, or our own wording for the reward `name` (a key of PLACEHOLDERS) where that is None.

        UsageError for a file that cannot be read, or that lacks a placeholder of this reward.
        """
        if file is None:
            return Wording((_FOLDER / f"{name}.txt").read_text(encoding="utf-8").strip())
        try:
            text = read_template(file).strip()
        except UsageError as error:
            raise UsageError(f"the judge template cannot be used: {error}") from None
        missing = [f"{{{field}}}" for field in PLACEHOLDERS[name] if f"{{{field}}}" not in text]
        if missing:
            raise UsageError(f"the judge template {file} lacks {' and '.join(missing)}; write it where that belongs.")
        return Wording(text, f"template {file}")

    def with_system(self) -> tuple[str, Wording]:
        """The system turn above a line `---` ("": there is none), and the wording without it.

        UsageError where a placeholder stands above the line: that part is the same for all questions.
        """
        above, separator, below = self.text.partition(SEPARATOR)
        if not separator:
            return "", self
        if found := re.search(r"\{(prompt|explanation)\}", above):
            raise UsageError(
                f"the judge template has {found[0]} above the line ---, in the system turn: write it below."
            )
        return above.strip(), Wording(below.strip(), self.label)

    @property
    def sha256(self) -> str:
        """SHA-256 of the text, in hexadecimal digits; part of the reward's identity."""
        return sha256(self.text.encode()).hexdigest()

    def fill(self, **values: str) -> str:
        """The question, with its placeholders replaced all at once, so that braces in a prompt stay as they are."""
        names = "|".join(map(re.escape, values))
        return re.sub(rf"\{{({names})\}}", lambda match: values[match[1]], self.text)
