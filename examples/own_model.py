"""A model made from another: nano, drawing at half the temperature. It has a name and an identity of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import milr
from milr.models.nano import load_nano
from milr.shapes.world import ShapesWorld
from milr.types import DrawRequest, ImageTrace


class CoolModel:
    """Everything that is not said here is the inner model's."""

    name = "cool-nano"
    world = ShapesWorld()  # which prompts it reads, and which judges know its pictures

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def identity(self) -> Mapping[str, Any]:
        """Another identity than nano's, so that no run mixes the two."""
        return {**self.inner.identity(), "name": self.name, "cooled": 0.5}

    def draw(self, requests: Sequence[DrawRequest]) -> list[ImageTrace]:
        """Draw as the inner model does, at half the temperature."""
        drawn: list[ImageTrace] = self.inner.draw(
            [replace(request, temperature=request.temperature / 2) for request in requests]
        )
        return drawn


def cool_nano(**settings: Any) -> CoolModel:
    """The factory, as `--model examples/own_model.py:cool_nano` calls it, with dtype, device and wording."""
    return CoolModel(load_nano(**settings))


if __name__ == "__main__":
    with milr.load(cool_nano()) as session:
        print(session.generate("a photo of a purple cross", steps=1, seed=1).score)
