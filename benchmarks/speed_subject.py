"""What is measured: a model, its prompts, how long its texts may be, and MILR's settings; one for each `--size`."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle

import random_janus

from milr.latent.schedules import SCHEDULES
from milr.methods.latent_reasoning import Settings
from milr.models import nano
from milr.models.janus import JanusModel
from milr.shapes.splits import prompts as nano_prompts
from milr.templates import NANO
from milr.types import Key, Prompt

SIZES = ("nano", *random_janus.SIZES)
TEXT_TOKENS = {"nano": 96, "tiny": 8}
_TEXT_TOKENS = 70
_FREE_IMAGE_TOKENS = 11  # as many as Janus-Pro frees
_KNOWN = 1000


@dataclass
class Subject:
    """`text_tokens` bounds a text: nano's end before, those of random weights never do."""

    name: str
    model: JanusModel
    prompts: list[Prompt]
    text_tokens: int
    settings: Settings
    seed: int = 0
    _fresh: Iterator[Prompt] = field(init=False)

    def __post_init__(self) -> None:
        self._fresh = cycle(self.prompts[1:])

    @property
    def first(self) -> Prompt:
        """The prompt that every row decodes, so that tokens can be compared."""
        return self.prompts[0]

    def untouched(self) -> JanusModel:
        """The model with its weights as transformers lays them out on a CPU, which ours does otherwise."""
        if self.model.network.device.type != "cpu":
            return self.model
        model = copy.copy(self.model)
        model.network = copy.deepcopy(model.network)
        for parameter in model.network.parameters():
            parameter.data = parameter.data.contiguous()
        return model

    def take(self, count: int) -> list[Prompt]:
        """The first prompt and `count` - 1 unseen ones: what a model keeps of one row shall not help the next."""
        return [self.first, *self.unseen(count - 1)]

    def unseen(self, count: int) -> list[Prompt]:
        """Prompts that no row has seen yet (nano's come again after 327)."""
        return [next(self._fresh) for _ in range(count)]

    def read(self, prompt: Prompt) -> int:
        """How many tokens the reasoning prompt has."""
        return 1 + len(self.model.encode_text(self.model.templates.reason(prompt.text)))

    def seen(self, content: str) -> int:
        """How many tokens each stream of the drawing prompt has."""
        return 2 + len(self.model.encode_text(self.model.templates.draw(content)))

    def key(self, prompt: Prompt) -> Key:
        """The randomness of a prompt's search."""
        return Key(self.seed, prompt.text)


def subject(
    size: str, *, device: str, dtype: str, steps: int, learning_rate: float, text_tokens: int | None, seed: int
) -> Subject:
    """The model of a size with its prompts; `seed` names weights, prompts and noise."""
    if size == "nano":
        where = "cpu" if device == "auto" else device
        model = JanusModel.load(
            nano.folder(), device=where, dtype=dtype, templates=NANO, guidance_scale=nano.GUIDANCE, name="nano"
        )  # not load_nano: the plain loop is made of transformers' forward
        prompts = nano_prompts("test")
        prompts = [prompts[place * 89 % len(prompts)] for place in range(len(prompts))]  # all categories, mixed
    else:
        model = random_janus.make(size, device=device, dtype=dtype, seed=seed)
        prompts = random_janus.prompts(size, _KNOWN, seed)
    ratio = min(1.0, _FREE_IMAGE_TOKENS / model.image_tokens)
    settings = Settings(SCHEDULES["joint"], steps=steps, learning_rate=learning_rate, image_ratio=ratio)
    return Subject(size, model, prompts, text_tokens or TEXT_TOKENS.get(size, _TEXT_TOKENS), settings, seed)
