"""Stages 3 to 6: CUDA graphs against eager steps, what captures cost, what breaks them, and who waits for whom."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import random_janus
import torch

from gpu_stages.finding import Card, Finding, compare, draw
from milr.models.decoding.decode_loop import DecodeLoop
from milr.models.janus import JanusModel
from milr.types import Key, ReasonRequest

NO_GRAPHS = "a CPU has no graphs (tests run them on a stand-in)"
MOST_LEFT = 2**28  # bytes that may stay with the driver after all graphs are freed
TOKENS = 160  # of a picture, where not all are needed: more than one graph, few seconds


def graphs(card: Card) -> Iterator[Finding]:
    """Tokens by graph and without: equal in float32; in bfloat16 how far the latents are from each other."""
    card.need_gpu(NO_GRAPHS)
    for dtype in ("float32", "bfloat16"):
        if dtype == "float32" and card.size == "7b":
            continue
        model = card.model(dtype)
        settings = {"num_latents": None} if dtype == "bfloat16" else {}
        by_graph = draw(model, [0, 1], **settings)
        captures = model._engine.num_captures
        texts = _texts(model)
        model.without_graphs()
        model.free_memory()
        eager = draw(model, [0, 1], **settings)
        yield Finding(f"graphs are captured in {dtype}", captures > 0, {"captures": captures})
        yield compare(f"pictures by graph and without in {dtype}", by_graph, eager, **_distance(by_graph, eager))
        if dtype == "float32":
            yield Finding("sampled texts by graph and without in float32", texts == _texts(model))
        del model


def _texts(model: JanusModel) -> list[tuple[int, ...]]:
    prompts = random_janus.prompts(model.name.removeprefix("random-"), 3)
    return [trace.ids for trace in model.reason([
        ReasonRequest(prompt.text, Key(0, prompt.text), max_new_tokens=TOKENS, temperature=1.0) for prompt in prompts
    ])]  # fmt: skip


def _distance(some: list[Any], others: list[Any]) -> dict[str, float]:
    """The distance of the latents up to the first other token, where they were kept."""
    if some[0].latents is None:
        return {}
    one, other = some[0], others[0]
    same = next((place for place, pair in enumerate(zip(one.ids, other.ids, strict=True)) if pair[0] != pair[1]),
                len(one.ids) - 1)  # fmt: skip
    left, right = one.latents[: same + 1], other.latents[: same + 1]
    return {"rms": float((left - right).square().mean().sqrt()), "rms_of_latents": float(left.square().mean().sqrt())}


def captures(card: Card) -> Iterator[Finding]:
    """How long captures take, what they hold, and what is left after all graphs are freed."""
    card.need_gpu(NO_GRAPHS)
    model = card.model()
    draw(model, [0], max_new_tokens=2)  # libraries, no capture
    model.free_memory()
    before, times = torch.cuda.mem_get_info()[0], _times_of_captures(model)
    for count in (1, 2, 4, 8):
        draw(model, range(count), max_new_tokens=TOKENS)
    held = before - torch.cuda.mem_get_info()[0]
    model.free_memory()
    left = before - torch.cuda.mem_get_info()[0]
    yield Finding("captures are quick enough to pay", bool(times) and max(times[1:] or times) < 2.0,
                  {"captures": len(times), "seconds": times, "held_gib": held / 2**30})  # fmt: skip
    yield Finding("graphs give their memory back", left < MOST_LEFT, {"left_mib": left / 2**20})
    first = len(times)
    draw(model, range(8), max_new_tokens=TOKENS)
    yield Finding("shapes are captured again after that", len(times) > first, {"captures": len(times) - first})


def _times_of_captures(model: JanusModel) -> list[float]:
    """Filled as captures are made."""
    runner, times = model._engine._graph_runner, list[float]()
    assert runner is not None
    inner = runner._capture

    def timed(work: Callable[[], None]) -> Any:
        torch.cuda.synchronize()
        began = time.perf_counter()
        try:
            return inner(work)
        finally:
            times.append(time.perf_counter() - began)

    runner._capture = timed
    return times


def broken_capture(card: Card) -> Iterator[Finding]:
    """One capture fails on purpose: the step runs eagerly, later captures work, no memory is lost."""
    card.need_gpu(NO_GRAPHS)
    model = card.model("float32", card.small)
    expected = [trace.ids for trace in draw(model, [0], max_new_tokens=TOKENS)]
    model.free_memory()
    before = torch.cuda.memory_reserved()
    runner = model._engine._graph_runner
    assert runner is not None
    captures, inner, calls = runner.num_captures, runner._capture, list[int]()

    def failing(work: Callable[[], None]) -> Any:
        calls.append(1)

        def breaking() -> None:
            work()
            if torch.cuda.is_current_stream_capturing():
                torch.cuda.synchronize()  # which no capture allows

        return inner(breaking if len(calls) == 1 else work)

    runner._capture = failing
    drawn = [trace.ids for trace in draw(model, [0], max_new_tokens=TOKENS)]
    yield Finding("tokens after a capture that failed", drawn == expected)
    yield Finding("captures after one that failed", runner.num_captures > captures and runner._num_failures == 1,
                  {"failures": runner._num_failures, "captures": runner.num_captures - captures})  # fmt: skip
    block = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    del block
    model.free_memory()
    lost = torch.cuda.memory_reserved() - before
    yield Finding("memory after a capture that failed", lost < MOST_LEFT, {"lost_mib": lost / 2**20})


def beside(card: Card, what: str) -> Iterator[Finding]:
    """Captures and steps while another thread uses the GPU as a judge of somebody else's might."""
    card.need_gpu(NO_GRAPHS)
    model = card.model("float32", card.small)
    expected = [trace.ids for trace in draw(model, range(4), max_new_tokens=TOKENS)]
    stop, problems, count = threading.Event(), list[str](), list[int]()

    def work() -> None:
        act = OTHERS[what]()
        while not stop.is_set():
            try:
                act()
                count.append(1)
            except RuntimeError as error:
                problems.append(str(error).partition("\n")[0])
                return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        for _ in range(3):
            model.free_memory()
            drawn = [trace.ids for trace in draw(model, range(4), max_new_tokens=TOKENS)]
    finally:
        stop.set()
        thread.join(5)
    runner = model._engine._graph_runner
    assert runner is not None
    numbers = {"captures": runner.num_captures, "failures": runner._num_failures, "of_the_other": len(count),
               "its_errors": problems}  # fmt: skip
    yield Finding(f"tokens beside a thread that {what}", drawn == expected, numbers)
    yield Finding(f"the thread that {what} goes on", not problems and bool(count), {})


def _multiplies() -> Callable[[], Any]:
    matrix, stream = torch.randn(1024, 1024, device="cuda"), torch.cuda.Stream()

    def act() -> None:
        with torch.cuda.stream(stream):
            (matrix @ matrix).sum()
        stream.synchronize()

    return act


def _copies() -> Callable[[], Any]:
    source = torch.empty(2**20, pin_memory=True)
    return lambda: source.to("cuda", non_blocking=True).sum().item()


def _empties() -> Callable[[], Any]:
    def act() -> None:
        torch.empty(2**20, device="cuda").sum()
        torch.cuda.empty_cache()

    return act


OTHERS: dict[str, Callable[[], Callable[[], Any]]] = {
    "multiplies": _multiplies,
    "copies": _copies,
    "synchronises": lambda: torch.cuda.synchronize,
    "empties the cache": _empties,
    "samples": lambda: lambda: torch.rand(2**16, device="cuda").multinomial(8).tolist(),
}


def waits(card: Card) -> Iterator[Finding]:
    """No step of a picture waits for the GPU, a step of a text waits once."""
    card.need_gpu("a CPU is never waited for (tests count the waits on a stand-in)")
    model = card.model(size=card.small)
    draw(model, [0, 1], max_new_tokens=TOKENS)
    sample, steps = DecodeLoop._sample, list[int]()

    def watched(loop: DecodeLoop, latents: Any) -> Any:
        steps.append(1)
        torch.cuda.set_sync_debug_mode("error" if 2 < len(steps) < TOKENS - 1 else "default")
        return sample(loop, latents)

    DecodeLoop._sample = watched  # type: ignore[method-assign]
    try:
        draw(model, [0, 1], max_new_tokens=TOKENS)
        yield Finding("no step of a picture waits for the GPU", len(steps) == TOKENS, {"steps": len(steps)})
    except RuntimeError as error:
        yield Finding("no step of a picture waits for the GPU", False,
                      {"step": len(steps), "says": str(error).partition("\n")[0]})  # fmt: skip
    finally:
        torch.cuda.set_sync_debug_mode("default")
        DecodeLoop._sample = sample  # type: ignore[method-assign]
    counts = [_waits_of_a_text(model, tokens) for tokens in (40, 80)]
    yield Finding("a step of a text waits once", counts[1] - counts[0] == 40, {"waits_of_40_and_80_tokens": counts})


def _waits_of_a_text(model: JanusModel, tokens: int) -> int:
    prompt = random_janus.prompts(model.name.removeprefix("random-"), 1)[0].text
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            model.reason([ReasonRequest(prompt, Key(tokens, prompt), max_new_tokens=tokens, temperature=1.0)])
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught)
