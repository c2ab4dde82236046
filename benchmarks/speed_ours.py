"""Ours, through the real studio: texts alone, pictures alone, rendering alone, and MILR, with n prompts in flight."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from typing import Any, TypeVar

import torch
from PIL.Image import Image
from speed_clock import Timed, timed
from speed_limits import Limits, work
from speed_others import Reference, Traces
from speed_rows import OURS, Row, share_equal
from speed_subject import Subject

from milr.base import Services
from milr.engine.process_pool import MIN_PICTURES, ModelProcessPool
from milr.engine.search import search
from milr.engine.studio import Studio
from milr.methods.latent_reasoning import latent_reasoning
from milr.runs.events import Event, StepFinished
from milr.templates import drawing
from milr.types import DrawRequest, ImageTrace, Outcome, Prompt, ReasonRequest, Score, TextTrace

T = TypeVar("T")


class Zero:
    """Every picture scores 0: nothing stops a search, and every latent that is free moves."""

    name, licence, needs = "zero", "Apache-2.0", ()
    range = (0.0, 1.0)
    threshold = 1.0

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """A zero for each."""
        return [Score(0.0) for _ in pictures]


class BoundedStudio(Studio):
    """A studio whose texts end after `text_tokens`, because those of random weights would not."""

    text_tokens: int

    async def reason(self, request: ReasonRequest) -> TextTrace:
        """As the studio does, bounded."""
        return await super().reason(replace(request, max_new_tokens=min(request.max_new_tokens, self.text_tokens)))


class Ours:
    """Each measurement has a studio of its own, and a model that remembers nothing of the one before."""

    def __init__(self, subject: Subject, limits: Limits, reference: Reference) -> None:
        self.subject, self.limits, self.reference = subject, limits, reference
        self.device = subject.model.network.device

    def alone(self, level: int) -> list[Row]:
        """Three rows: texts, then pictures of these texts, then the rendering of these pictures."""
        return asyncio.run(self._ready(level, lambda studio: self._alone(studio, level)))

    def milr(self, level: int, plain: Traces) -> Row:
        """The first picture and every step of `level` searches, held against the plain loop's."""
        (row,) = asyncio.run(self._ready(level, lambda studio: self._milr(studio, level, plain)))
        return row

    async def _ready(self, level: int, work: Callable[[BoundedStudio], Awaitable[list[Row]]]) -> list[Row]:
        self.subject.model.free_memory()
        parts: Counter[str] = Counter()
        studio = BoundedStudio(self.subject.model, Zero(), searches=level, pictures=MIN_PICTURES,
                               max_batch_size=max(64, level),
                               on_batch=lambda kind, rows, seconds: parts.update({kind: seconds}))  # fmt: skip
        studio.text_tokens = self.subject.text_tokens
        try:
            warm_up = await self._warm_up(studio, level)
            parts.clear()
            return [replace(row, warm_up=warm_up, parts=dict(parts)) for row in await work(studio)]
        finally:
            studio.close()

    async def _warm_up(self, studio: BoundedStudio, level: int) -> float:
        """Seconds until processes are there, and of a pass over prompts of its own: whole on CUDA, where it compiles,
        and of two tokens elsewhere."""
        short = 2 if self.device.type == "cpu" else None
        prompts = self.subject.unseen(level)
        with self._timed(studio) as clock:
            if isinstance(studio.model, ModelProcessPool):
                await asyncio.to_thread(studio.model.wait_until_ready)
            texts = await _each(studio, studio.reason, self._writing(prompts, short))
            images = await _each(studio, studio.draw, self._drawing(prompts, texts, short))
            if short is None:
                await _each(studio, studio.render, images)
        return clock.seconds

    def _timed(self, studio: Studio) -> AbstractContextManager[Timed]:
        model = studio.model
        workers = model.workers if isinstance(model, ModelProcessPool) else ()
        return timed(self.device, [worker.pid for worker in workers])

    async def _alone(self, studio: BoundedStudio, level: int) -> list[Row]:
        prompts, network = self.subject.take(level), self.subject.model.network
        with self._timed(studio) as clock:
            texts = await _each(studio, studio.reason, _keeping(self._writing(prompts)))
        count = [len(text.ids) for text in texts]
        needs = work(network, "text", [self.subject.read(prompt) for prompt in prompts], count)
        rows = [Row("text", OURS, level, **asdict(clock), tokens=sum(count),
                    **needs.shares(clock.seconds, self.limits),
                    **_against([texts[0]], [self.reference.text]),
                    divergence=self._divergence("text", texts[0], self.reference.text))]  # fmt: skip
        requests = _keeping(self._drawing(prompts, texts))
        with self._timed(studio) as clock:
            images = await _each(studio, studio.draw, requests)
        count = [len(image.ids) for image in images]
        needs = work(network, "image", [self.subject.seen(request.text) for request in requests], count)
        rows += [Row("draw", OURS, level, **asdict(clock), pictures=level, tokens=sum(count),
                     **needs.shares(clock.seconds, self.limits),
                     **_against([images[0]], [self.reference.image]),
                     divergence=self._divergence("image", images[0], self.reference.image))]  # fmt: skip
        with self._timed(studio) as clock:
            await _each(studio, studio.render, images)
        return [*rows, Row("render", OURS, level, **asdict(clock), pictures=level)]

    async def _milr(self, studio: BoundedStudio, level: int, plain: Traces) -> list[Row]:
        prompts, method = self.subject.take(level), latent_reasoning(self.subject.settings)
        times: dict[int, list[float]] = {}

        def note(event: Event) -> None:
            if isinstance(event, StepFinished):
                times.setdefault(event.step.index, []).append(time.perf_counter() - began)

        with self._timed(studio) as clock:
            began = time.perf_counter()
            outcomes = await asyncio.gather(
                *(search(studio, prompt, self.subject.key(prompt), method, threshold=None, listener=note)
                  for prompt in prompts)
            )  # fmt: skip
        steps = [step for outcome in outcomes for step in outcome.steps]
        later = [step.text_changed for step in steps if step.index]
        return [Row(
            "milr", OURS, level, **asdict(clock), pictures=len(steps),
            tokens=sum(len(trace.ids) for outcome in outcomes for trace in traces(outcome)),
            first_picture=min(times[0]),
            finished=tuple(max(times[index]) for index in sorted(times)),
            changed=sum(later) / len(later) if later else None,
            **_against(traces(outcomes[0]), plain),
        )]  # fmt: skip

    def _writing(self, prompts: Sequence[Prompt], tokens: int | None = None) -> list[ReasonRequest]:
        limit = tokens or self.subject.text_tokens
        return [ReasonRequest(prompt.text, self.subject.key(prompt), max_new_tokens=limit) for prompt in prompts]

    def _drawing(self, prompts: Sequence[Prompt], texts: Sequence[TextTrace],
                 count: int | None = None) -> list[DrawRequest]:  # fmt: skip
        scale = self.subject.model.guidance_scale
        return [DrawRequest(drawing(prompt.text, text.text), self.subject.key(prompt), scale, max_new_tokens=count)
                for prompt, text in zip(prompts, texts, strict=True)]  # fmt: skip

    def _divergence(self, modality: str, ours: TextTrace | ImageTrace, plain: TextTrace | ImageTrace) -> float:
        """Mean KL(plain | ours) of the next token's distribution, where both have read the same, in nats."""
        shared = next((place for place, (a, b) in enumerate(zip(ours.ids, plain.ids, strict=False)) if a != b), None)
        latents = [trace.latents[: None if shared is None else shared + 1] for trace in (plain, ours)]
        model = self.subject.model
        if modality == "text":
            logits = [model.text_logits(plain, each) for each in latents]
        else:
            logits = [model.image_logits(plain, each, model.guidance_scale) for each in latents]
        chances, others = (torch.log_softmax(each.double(), -1) for each in logits)
        return float((chances.exp() * (chances - others)).sum(-1).mean())


def _keeping(requests: list[T]) -> list[T]:
    """With all latents of the first, which are compared."""
    return [replace(requests[0], num_latents=None), *requests[1:]]  # type: ignore[type-var]


async def _each(studio: Studio, ask: Callable[..., Awaitable[T]], requests: Iterable[object]) -> list[T]:
    """All requests at once, each from a method of its own."""

    async def one(request: object) -> T:
        async with studio.method():
            return await ask(request)

    return list(await asyncio.gather(*map(one, requests)))


def traces(outcome: Outcome) -> list[TextTrace | ImageTrace]:
    """The text and the picture of every step."""
    found: list[TextTrace | ImageTrace] = []
    for step in outcome.steps:
        assert step.rollout.visualisation is not None
        found += [step.rollout.visualisation, step.rollout.image]
    return found


def _against(ours: Sequence[TextTrace | ImageTrace], plain: Sequence[TextTrace | ImageTrace]) -> dict[str, Any]:
    """How much of the first prompt's tokens the plain loop made, too, and how many had a near tie on either side."""
    compared = list(zip(ours, plain, strict=False))
    return {
        "equal": share_equal([one.ids for one, _ in compared], [other.ids for _, other in compared]),
        "near_ties": sum(bool(one.near_ties or other.near_ties) for one, other in compared),
    }
