"""Rewards whose verdicts the test chose, and a studio that writes down what it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL.Image import Image

from milr.base import Services
from milr.engine.studio import Studio
from milr.types import DrawRequest, ImageTrace, Prompt, ReasonRequest, Score, TextTrace


class Scripted:
    """Gives `values` one after the other to each prompt, the last one for ever; None is unscored."""

    name = "scripted"
    range = (0.0, 1.0)
    threshold = 0.9
    needs: tuple[str, ...] = ()
    licence = "Apache-2.0"

    def __init__(self, *values: float | None) -> None:
        self.values = values
        self.judged: dict[str, int] = {}

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """The next values of the script."""
        return [self._one(prompt) for prompt in prompts]

    def _one(self, prompt: Prompt) -> Score:
        place = self.judged.get(prompt.text, 0)
        self.judged[prompt.text] = place + 1
        value = self.values[min(place, len(self.values) - 1)]
        return Score.unscored("the script says so") if value is None else Score(value)


class Brightness:
    """Scores a picture by its own pixels, so that another picture has another score."""

    name = "brightness"
    range = (0.0, 1.0)
    threshold = 0.9
    needs: tuple[str, ...] = ()
    licence = "Apache-2.0"

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """The mean of all pixels, from 0 (black) to 1 (white)."""
        return [Score(brightness(picture)) for picture in pictures]


class Half(Brightness):
    """Likes every picture the same."""

    name = "half"

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """0.5 each."""
        return [Score(0.5) for _ in pictures]


def brightness(picture: Image) -> float:
    """The mean of all pixels, from 0 (black) to 1 (white)."""
    pixels = picture.convert("L").tobytes()
    return sum(pixels) / len(pixels) / 255


class Recording(Studio):
    """A studio that keeps every request for a text or a drawing, in the order asked."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.reasons: list[ReasonRequest] = []
        self.draws: list[DrawRequest] = []

    async def reason(self, request: ReasonRequest) -> TextTrace:
        """As the studio does, kept."""
        self.reasons.append(request)
        return await super().reason(request)

    async def draw(self, request: DrawRequest) -> ImageTrace:
        """As the studio does, kept."""
        self.draws.append(request)
        return await super().draw(request)
