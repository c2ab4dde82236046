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
Traces = list[TextTrace | ImageTrace]


@dataclass(frozen=True)
class Reference:
    """What the plain loop made of the first prompt: a text, and a picture of it."""

    text: TextTrace
    image: ImageTrace


def plain(subject: Subject, limits: Limits) -> tuple[list[Row], Reference]:
    """Three rows: a text, a picture, its rendering."""
    loop = _loop(subject)
    network = loop.model.network
    prompt, key, settings = subject.first, subject.key(subject.first), subject.settings
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
    return rows, Reference(text, image)


def plain_milr(subject: Subject, steps: int) -> tuple[Row, Traces]:
    """MILR's first picture and `steps` steps, and what they made: each step's text and picture."""
    loop, prompt = _loop(subject), subject.first
    with timed(loop.model.network.device) as clock:
        made = loop.search(prompt.text, subject.key(prompt), subject.settings, [0.0] * steps)
    found = [trace for step in made for trace in (step.text, step.image)]
    finished = tuple(step.seconds for step in made)
    return Row("milr", PLAIN, 1, **asdict(clock), pictures=len(made), tokens=sum(len(trace.ids) for trace in found),
               first_picture=finished[0], finished=finished, parts=dict(loop.seconds)), found  # fmt: skip


def _loop(subject: Subject) -> PlainLoop:
    """Ready: the first forward of a thread is slower."""
    model = subject.untouched()
    PlainLoop(model, 2).write(subject.first.text)
    return PlainLoop(model, subject.text_tokens)


def generate(subject: Subject, reference: Reference, limits: Limits) -> list[Row]:
    """Two rows, of the first prompt: its text, and a picture. (No MILR: `generate` keeps no latents.)"""
    model = subject.untouched()
    network, templates = model.network, model.templates
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
