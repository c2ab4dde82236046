"""What a run will cost, estimated before it starts: counts from its budget, seconds from a few tokens decoded."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from milr.base import abilities, image_steps
from milr.catalog import BARE
from milr.types import DrawRequest, Key, ReasonRequest
from milr.workflows.prepare import PreparedRun

TIMED_TOKENS = 8  # image tokens of each sequence that are timed


@dataclass(frozen=True)
class DecodeSpeed:
    """What was measured: the tokens of one visualisation, and the seconds of one token-step in a batch of the run."""

    text_tokens: int
    seconds: float


@dataclass(frozen=True)
class Estimate:
    """The cost if no search stops early. `seconds` are those of decoding, without rendering and the judge's (0: not
    known)."""

    samples: int = 0
    pictures: int = 0
    token_steps: int = 0
    seconds: float = 0.0

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def __str__(self) -> str:
        """One line. Each picture is shown to the search reward, and to the report metric at most once."""
        seconds = f" and {format_duration(self.seconds)} of the model's time" if self.seconds else ""
        return (f"{self.samples} samples to make, at most {self.pictures} pictures and as many calls of each judge; if "
                f"no search stops early, about {self.token_steps} token-steps{seconds}")  # fmt: skip


def estimate(prepared: PreparedRun, finished: int, speed: DecodeSpeed) -> Estimate:
    """The cost of all samples but the `finished` ones, if no search stops early."""
    samples = len(prepared.jobs) - finished
    pictures = prepared.budget.pictures or 1
    text_tokens = 0 if prepared.options.method in BARE else speed.text_tokens
    image_tokens = image_steps(prepared.model)
    steps = pictures * (image_tokens + text_tokens)
    if prepared.budget.token_steps:
        steps = min(steps, prepared.budget.token_steps + image_tokens + speed.text_tokens)
    return Estimate(samples, samples * pictures, samples * steps, samples * steps * speed.seconds)


def measure_speed(prepared: PreparedRun) -> DecodeSpeed:
    """Decode one visualisation and the first image tokens of a batch, on a thread of the model's own."""
    with ThreadPoolExecutor(1, initializer=getattr(prepared.model, "init_worker_thread", None)) as worker:
        return worker.submit(_measure, prepared).result()


def _measure(prepared: PreparedRun) -> DecodeSpeed:
    model, options = prepared.model, prepared.options
    prompts = (prepared.prompts * options.samples)[: options.in_flight]
    keys = [Key(options.seed, prompt.text, sample) for sample, prompt in enumerate(prompts)]
    requests = [DrawRequest(prompt.text, key, model.guidance_scale, max_new_tokens=TIMED_TOKENS)
                for prompt, key in zip(prompts, keys, strict=True)]  # fmt: skip
    texts = model.reason([ReasonRequest(prompts[0].text, keys[0])]) if "write" in abilities(model) else []
    text_tokens = len(texts[0].ids) if texts else 0
    if not model.image_tokens:
        return DecodeSpeed(text_tokens, 0.0)
    model.draw(requests)  # warm up
    seconds = _seconds_of(lambda: model.draw(requests))
    return DecodeSpeed(text_tokens, seconds / (TIMED_TOKENS * len(requests) * getattr(model, "num_workers", 1)))


def _seconds_of(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def format_duration(seconds: float) -> str:
    """ "40 s", "12 min", "3.5 h" """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
