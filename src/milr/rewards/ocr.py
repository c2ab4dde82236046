"""The reward `ocr`: whether the picture shows the text that the prompt quotes (`rules.text_rendering`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from milr.rewards.vision.local_reward import LocalReward
from milr.rules.text_rendering import quoted_texts, text_score
from milr.types import Prompt, Score, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

    from milr.rewards.vision.text_reader import ReadText


class OcrReward(LocalReward):
    """The mean over the quoted texts of how well each was read, in [0, 1]; `parts` are those of each text.

    A prompt that quotes no text is refused. A reader that fails leaves the picture unscored; a picture in which it
    reads nothing has 0.
    """

    name = "ocr"
    threshold = 0.95
    licence = "Apache-2.0 (RapidOCR, PaddleOCR)"

    def __init__(self, read: ReadText, identity: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.read, self._identity = read, identity or {}

    def identity(self) -> dict[str, Any]:
        """What tells two readers apart."""
        return self._identity

    def check(self, prompt: Prompt) -> None:
        """UsageError for a prompt that quotes no text."""
        if not quoted_texts(prompt.text):
            raise UsageError('the reward ocr needs the wanted text in quotation marks, as in: a sign that says "OPEN"; '
                             f"{prompt.text!r} quotes none.")  # fmt: skip

    def judge(self, picture: Image, prompt: Prompt) -> Score:
        """The score of one picture, and what was read."""
        lines = self.read(picture)
        parts = {f'"{text}"': text_score(text, lines) for text in quoted_texts(prompt.text)}
        said = f"it reads {' / '.join(lines)!r}" if lines else "it reads nothing"
        return Score(sum(parts.values()) / len(parts), parts, said)
