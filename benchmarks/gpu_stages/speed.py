"""Stages 7 and 9: how long pictures take beside the plain loop and what the card can do, and what noise costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import random_janus
import speed_limits
import torch
from plain_loop import PlainLoop
from speed_clock import timed

from gpu_stages.finding import GUIDANCE, Card, Finding, draw
from milr.latent.schedules import SCHEDULES
from milr.methods.latent_reasoning import Settings
from milr.models.decoding.decode_loop import DecodeLoop
from milr.models.decoding.noise_buffers import NoiseBuffers
from milr.models.janus import JanusModel
from milr.randomness import NoiseStream, batch_noise
from milr.types import Key

NOISE = ((32, 16384), (64, 16384), (32, 102400))  # pictures, and texts
MOST_NOISE = 0.1  # of a picture's time
EAGER_TOKENS = 96
MEASURED_TOKENS = {"7b": 192}  # of a picture, where the whole takes too long; others draw all
ESTIMATED_MS = {("1b", 1): 2.1, ("1b", 32): 6.3, ("7b", 1): 5.9, ("7b", 32): 15.0}  # one H100, by reading
GOAL_STREAMING, GOAL_ALONE, GOAL_MANY = 0.7, 4.0, 40.0  # of 7B


def noise(card: Card) -> Iterator[Finding]:
    """Milliseconds a step's noise takes to draw and to copy, and the share of a picture's time that waits for it."""
    for rows, vocab in NOISE if card.is_cuda else ((4, 64),):
        streams = [NoiseStream(Key(row, "p"), "image", vocab) for row in range(rows)]
        buffers, place = NoiseBuffers(card.device) if card.is_cuda else None, iter(range(100))

        def work(streams: Any = streams, vocab: int = vocab, buffers: Any = buffers, place: Any = place) -> None:
            at = next(place)
            positions = [(stream, at) for stream in streams]
            _ = buffers.draw(positions, vocab) if buffers else batch_noise(positions, vocab)

        yield Finding(f"noise of {rows} x {vocab}", None, {"ms": 1e3 * card.best_seconds(work, repeats=10)})
    model, count = card.model(), 32 if card.is_cuda else 4
    settings = {"max_new_tokens": 192} if card.is_cuda else {}
    draw(model, range(count), **settings)
    seconds = card.seconds(lambda: draw(model, range(count), **settings))
    draw_noise, kept = DecodeLoop._draw, dict[int, Any]()

    def drawn_once(loop: DecodeLoop, positions: Any, logits: Any) -> Any:
        if len(positions) not in kept:
            kept[len(positions)] = draw_noise(loop, positions, logits).clone()
        return kept[len(positions)]

    DecodeLoop._draw = drawn_once  # type: ignore[method-assign]
    try:
        without = card.seconds(lambda: draw(model, range(count), **settings))
    finally:
        DecodeLoop._draw = draw_noise  # type: ignore[method-assign]
    share = 1 - without / seconds
    yield Finding(f"{count} pictures wait for noise", share < MOST_NOISE if card.is_cuda else None,
                  {"share": share, "seconds": seconds, "without_noise": without})  # fmt: skip


def speed(card: Card, size: str) -> Iterator[Finding]:
    """Milliseconds a step, pictures a second, the share of the streaming limit; graphs on and off; the plain loop."""
    size = size or card.size
    if size == "7b" and card.is_cuda and torch.cuda.mem_get_info()[0] < 2**35:
        yield Finding("7b needs 32 GiB", None)
        return
    model = card.model(size=size)
    limits = speed_limits.measure(card.device, model.network.dtype)
    yield _loaded(card, model)
    plain = _plain(model)
    yield Finding(f"{size}: the plain loop", None, plain)
    for count in (1, 8, 32, 64) if card.is_cuda else (1, 4):
        numbers = _measured(card, model, count, limits)
        numbers["times_the_plain_loop"] = numbers["pictures_per_second"] / plain["pictures_per_second"]
        estimate = ESTIMATED_MS.get((size, count))
        yield Finding(f"{size}: {count} at once", _reaches(size, count, numbers, card),
                      numbers | ({"estimated_ms": estimate} if estimate else {}))  # fmt: skip
    model.without_graphs()
    for count in (1, 32) if card.is_cuda else (1,):
        yield Finding(f"{size}: {count} at once without graphs", None,
                      _measured(card, model, count, limits, tokens=EAGER_TOKENS))  # fmt: skip


def _reaches(size: str, count: int, numbers: dict[str, Any], card: Card) -> bool | None:
    """Whether a goal is reached; None where there is none."""
    if size != "7b" or not card.is_cuda or count not in (1, 32):
        return None
    if count == 32:
        return numbers["times_the_plain_loop"] > GOAL_MANY
    return numbers["times_the_plain_loop"] > GOAL_ALONE and numbers["share_of_streaming"] > GOAL_STREAMING


def _loaded(card: Card, model: JanusModel) -> Finding:
    held = torch.cuda.memory_allocated() if card.is_cuda else 0
    count = sum(parameter.numel() for parameter in model.network.parameters())
    return Finding(f"{model.name} is made", None, {"parameters_billion": count / 1e9, "gib": held / 2**30})


def _measured(card: Card, model: JanusModel, count: int, limits: speed_limits.Limits, tokens: int | None = None,
              ) -> dict[str, Any]:  # fmt: skip
    """The second pass: the first captures. A picture of fewer tokens is scaled to all of them."""
    size = model.name.removeprefix("random-")
    tokens = tokens or MEASURED_TOKENS.get(size, model.image_tokens) if card.is_cuda else model.image_tokens
    draw(model, range(count), max_new_tokens=tokens)
    with timed(card.device) as clock:
        draw(model, range(100, 100 + count), max_new_tokens=tokens)
    prompt = random_janus.SIZES[size].prompt_tokens
    needs = speed_limits.work(model.network, "image", [prompt] * count, [tokens] * count)
    return {"ms_a_step": 1e3 * clock.seconds / tokens, "tokens": tokens,
            "pictures_per_second": count * tokens / model.image_tokens / clock.seconds,
            "share_of_streaming": needs.shares(clock.seconds, limits)["streaming"],
            "peak_gib": clock.peak_bytes / 2**30, "captures": model._engine.num_captures}  # fmt: skip


def _plain(model: JanusModel) -> dict[str, Any]:
    """One picture drawn as the released research code draws, the second of two; on a CPU the first."""
    prompt = random_janus.prompts(model.name.removeprefix("random-"), 1)[0].text
    loop = PlainLoop(model, text_tokens=8)
    settings = Settings(SCHEDULES["joint"], steps=0, learning_rate=0.0, guidance_scale=GUIDANCE)
    trace = loop.draw(prompt, Key(0, prompt), settings)
    return {"pictures_per_second": 1 / trace.seconds, "ms_a_step": 1e3 * trace.seconds / len(trace.ids)}
