"""What a stage finds, and what it may use: a size of `random_janus` on the card, or on the CPU where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import random_janus
import torch

from milr.models.devices import prepare_cuda
from milr.models.janus import JanusModel
from milr.types import DrawRequest, ImageTrace, Key

GUIDANCE = 5.0


@dataclass(frozen=True)
class Finding:
    """One thing that holds or does not. `passed` None: numbers of which nothing was promised."""

    what: str
    passed: bool | None = None
    numbers: dict[str, Any] = field(default_factory=dict)


class Skipped(Exception):
    """A stage that says nothing here, and why."""


@dataclass(frozen=True)
class Card:
    """Where the stages run. Sizes are small on a CPU, which has to show only that the script works."""

    size: str

    def __post_init__(self) -> None:
        if self.is_cuda:
            prepare_cuda()
        else:
            torch.set_num_threads(1)  # small shapes, and other work beside

    @property
    def is_cuda(self) -> bool:
        """Whether there is a GPU."""
        return torch.cuda.is_available()

    @property
    def device(self) -> torch.device:
        """The GPU, or the CPU."""
        return torch.device("cuda" if self.is_cuda else "cpu")

    @property
    def small(self) -> str:
        """A size for what does not depend on the size."""
        return "w512" if self.is_cuda and self.size != "tiny" else "tiny"

    def need_gpu(self, reason: str) -> None:
        """Skip the stage where there is none."""
        if not self.is_cuda:
            raise Skipped(f"no GPU here: {reason}")

    def model(self, dtype: str = "auto", size: str | None = None) -> JanusModel:
        """A random model in the dtype that a user gets, or in this one."""
        return random_janus.make(size or self.size, dtype=dtype)

    def seconds(self, work: Callable[[], Any]) -> float:
        """Of some work, with all that the device was given before it left out."""
        self.wait()
        began = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - began

    def best_seconds(self, work: Callable[[], Any], repeats: int = 20, tries: int = 3) -> float:
        """Of one of `repeats` in a row, the best of a few tries."""

        def all_repeats() -> None:
            for _ in range(repeats):
                work()

        all_repeats()
        return min(self.seconds(all_repeats) for _ in range(tries)) / repeats

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.is_cuda:
            torch.cuda.synchronize()


def draw(model: JanusModel, pictures: Sequence[int], **settings: Any) -> list[ImageTrace]:
    """Pictures by number, each with its own prompt and noise: the same number is the same picture."""
    size = model.name.removeprefix("random-")
    prompts = random_janus.prompts(size, max(pictures) + 1)
    return list(model.draw([DrawRequest(prompts[number].text, Key(0, prompts[number].text), GUIDANCE, **settings)
                            for number in pictures]))  # fmt: skip


def compare(what: str, some: Sequence[ImageTrace], others: Sequence[ImageTrace], **numbers: Any) -> Finding:
    """Passed where tokens are equal, or part at a near tie of either; the numbers say where they part."""
    partings = []
    for one, other in zip(some, others, strict=True):
        first = next((place for place, (a, b) in enumerate(zip(one.ids, other.ids, strict=True)) if a != b), None)
        if first is not None:
            partings.append({"first": first, "near_tie": first in (*one.near_ties, *other.near_ties)})
    share_near = sum(len(trace.near_ties) for trace in some) / max(1, sum(len(trace.ids) for trace in some))
    return Finding(what, all(each["near_tie"] for each in partings),
                   {"parted": partings, "share_of_near_ties": share_near} | numbers)  # fmt: skip
