"""What a run will cost, told before it starts: counts from its budget, seconds from a few tokens decoded."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from milr.catalog import BARE
from milr.types import DrawRequest, Key, ReasonRequest
from milr.workflows.prepare import PreparedRun

PROBED = 8  # tokens that are timed


@dataclass(frozen=True)
class Forecast:
    """If no search stops early. `seconds` are those of decoding, without rendering and the judge's."""

    samples: int
    pictures: int
    token_steps: int
    seconds: float

    def __add__(self, other: Forecast) -> Forecast:
        return Forecast(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def forecast(prepared: PreparedRun, found: int, probed: tuple[int, float]) -> Forecast:
    """What the samples not yet `found` cost if none stops early, by what `probe` measured of one text and a batch."""
    text, second = probed
    samples = len(prepared.prompts) * prepared.options.samples - found
    pictures = prepared.budget.pictures or 1
    steps = pictures * (prepared.model.image_tokens + (0 if prepared.options.method in BARE else text))
    if prepared.budget.token_steps:
        steps = min(steps, prepared.budget.token_steps + prepared.model.image_tokens + text)
    return Forecast(samples, samples * pictures, samples * steps, samples * steps * second)


def probe(prepared: PreparedRun) -> tuple[int, float]:
    """How long a visualisation is, and the seconds of a token-step in a batch of this run."""
    with ThreadPoolExecutor(1, initializer=getattr(prepared.model, "init_worker_thread", None)) as worker:
        return worker.submit(_probed, prepared).result()


def _probed(prepared: PreparedRun) -> tuple[int, float]:
    model, options = prepared.model, prepared.options
    prompts = (prepared.prompts * options.samples)[: options.in_flight]
    keys = [Key(options.seed, prompt.text, sample) for sample, prompt in enumerate(prompts)]
    scale = model.guidance_scale
    draws = [DrawRequest(prompt.text, key, scale, max_new_tokens=PROBED)
             for prompt, key in zip(prompts, keys, strict=True)]  # fmt: skip
    (text,) = model.reason([ReasonRequest(prompts[0].text, keys[0])])
    model.draw(draws)  # warm
    return len(text.ids), _seconds(lambda: model.draw(draws)) / (PROBED * len(draws) * getattr(model, "num_workers", 1))


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def told(one: Forecast) -> str:
    """A line about it. Each picture is shown to the search reward, and to the report metric at most once."""
    return (f"{one.samples} samples to make, at most {one.pictures} pictures and as many calls of each judge; if no "
            f"search stops early, about {one.token_steps} token-steps and {duration(one.seconds)} of the model's time"
            )  # fmt: skip


def duration(seconds: float) -> str:
    """ "40 s", "12 min", "3.5 h" """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
