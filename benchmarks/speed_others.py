"""What ours is measured against: the plain loop, and transformers' own `generate`. One prompt at a time, both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TypeVar

import torch
from plain_loop import PlainLoop
from speed_clock import Timed, timed
from speed_limits import Limits, work
from speed_rows import GENERATE, PLAIN, Row
from speed_subject import Subject

from milr.templates import drawing
from milr.types import ImageTrace, TextTrace

T = TypeVar("T")


@dataclass(frozen=True)
class Reference:
    """What the plain loop made of the first prompt: a text, a picture of it, and each step's text and picture."""

    text: TextTrace
    image: ImageTrace
    steps: list[TextTrace | ImageTrace]


def plain(subject: Subject, steps: int, limits: Limits) -> tuple[list[Row], Reference]:
    """Four rows: a text, a picture, its rendering, and MILR's first picture with `steps` steps."""
    loop, network = PlainLoop(subject.model, subject.text_tokens), subject.model.network
    prompt, key, settings = subject.first, subject.key(subject.first), subject.settings
    PlainLoop(subject.model, 2).write(prompt.text)  # the process's first forward is slower
    text, clock = _run(subject, lambda: loop.write(prompt.text))
    needs = work(network, "text", [subject.read(prompt)], [len(text.ids)])
    rows = [Row("text", PLAIN, 1, **asdict(clock), tokens=len(text.ids),
                **needs.shares(clock.seconds, limits))]  # fmt: skip
    content = drawing(prompt.text, text.text)
    image, clock = _run(subject, lambda: loop.draw(content, key, settings))
    needs = work(network, "image", [subject.seen(content)], [len(image.ids)])
    rows += [Row("draw", PLAIN, 1, **asdict(clock), pictures=1, tokens=len(image.ids),
                 **needs.shares(clock.seconds, limits))]  # fmt: skip
    _, clock = _run(subject, lambda: loop.render(image.ids))
    rows += [Row("render", PLAIN, 1, **asdict(clock), pictures=1)]
    loop.seconds = dict.fromkeys(loop.seconds, 0.0)
    with timed(network.device) as clock:
        made = loop.search(prompt.text, key, settings, [0.0] * steps)
    found = [trace for step in made for trace in (step.text, step.image)]
    finished = tuple(step.seconds for step in made)
    rows += [Row("milr", PLAIN, 1, **asdict(clock), pictures=len(made),
                 tokens=sum(len(trace.ids) for trace in found), first_picture=finished[0], finished=finished,
                 parts=dict(loop.seconds))]  # fmt: skip
    return rows, Reference(text, image, found)


def generate(subject: Subject, reference: Reference, limits: Limits) -> list[Row]:
    """Two rows, of the first prompt: its text, and a picture. (No MILR: `generate` keeps no latents.)"""
    model, network, templates = subject.model, subject.model.network, subject.model.templates
    prompt = subject.first.text
    writing = _ids(subject, templates.reason(prompt))
    made, clock = _run(subject, lambda: network.generate(
        writing, attention_mask=torch.ones_like(writing), generation_mode="text", do_sample=False,
        max_new_tokens=len(reference.text.ids)))  # fmt: skip
    count = made.shape[1] - writing.shape[1]
    needs = work(network, "text", [writing.shape[1]], [count])
    rows = [Row("text", GENERATE, 1, **asdict(clock), tokens=count,
                **needs.shares(clock.seconds, limits))]  # fmt: skip
    begin = torch.tensor([[model.ids.begin_image]], device=network.device)
    showing = torch.cat([_ids(subject, templates.draw(drawing(prompt, reference.text.text))), begin], dim=1)
    made, clock = _run(subject, lambda: network.generate(
        showing, attention_mask=torch.ones_like(showing), generation_mode="image", do_sample=True,
        top_k=0, guidance_scale=model.guidance_scale))  # fmt: skip
    needs = work(network, "image", [showing.shape[1]], [made.shape[1]])
    return [*rows, Row("draw", GENERATE, 1, **asdict(clock), pictures=1, tokens=made.shape[1],
                       **needs.shares(clock.seconds, limits))]  # fmt: skip


def _run(subject: Subject, function: Callable[[], T]) -> tuple[T, Timed]:
    """The result and the time; on CUDA of a second run, for the first one loads kernels."""
    device = subject.model.network.device
    if device.type == "cuda":
        function()
    with timed(device) as clock:
        made = function()
    return made, clock


def _ids(subject: Subject, turn: str) -> torch.Tensor:
    """A turn as transformers reads it. (1, L)"""
    model = subject.model
    return torch.tensor([[model.ids.begin, *model.encode_text(turn)]], device=model.network.device)
