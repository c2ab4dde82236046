"""Stage 10: what is held after loading, drawing and rendering, and what happens where memory does not hold a batch."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import random_janus
import torch
from speed_clock import timed

from gpu_stages.finding import GUIDANCE, Card, Finding, compare, draw
from milr.engine.batch_executor import BatchExecutor
from milr.models.janus import JanusModel
from milr.types import DrawRequest, ImageTrace, Key

ESTIMATED_GIB = {("1b", 1): 7.0, ("1b", 8): 9.3, ("1b", 32): 17.2, ("7b", 1): 17.5, ("7b", 8): 23.2, ("7b", 32): 42.9}
MOST_OVER = 1.15  # times an estimate
CARDS = (8, 24)  # GB


def memory(card: Card) -> Iterator[Finding]:
    """Peaks with 1, 8 and 32 pictures in flight, and of rendering."""
    card.need_gpu("memory is that of the card")
    model = card.model()
    yield Finding("after loading", None, _held())
    for count in (1, 8, 32):
        with timed(card.device) as clock:
            traces = draw(model, range(count))
        peak, estimate = clock.peak_bytes / 2**30, ESTIMATED_GIB.get((card.size, count))
        yield Finding(f"{count} in flight", peak < MOST_OVER * estimate if estimate else None,
                      {"peak_gib": peak, "estimated_gib": estimate, **_held()})  # fmt: skip
    with timed(card.device) as clock:
        model.render([trace.ids for trace in traces[:8]])
    yield Finding("rendering eight pictures", None, {"peak_gib": clock.peak_bytes / 2**30})
    model.free_memory()
    yield Finding("after freeing", None, _held())


def _held() -> dict[str, float]:
    return {
        "allocated_gib": torch.cuda.memory_allocated() / 2**30,
        "reserved_gib": torch.cuda.memory_reserved() / 2**30,
    }


def out_of_memory(card: Card) -> Iterator[Finding]:
    """A batch that memory does not hold is halved, and its pictures are those of a batch that fits.

    On a GPU the model itself runs out of memory, under a cap; on a CPU a stand-in raises torch's error.
    """
    if not card.is_cuda:
        yield _stand_in()
        return
    tokens, count = 64, 32
    model = card.model("float32", card.small)
    with timed(card.device) as clock:
        expected = draw(model, range(count), max_new_tokens=tokens)
    model.free_memory()
    loaded = torch.cuda.memory_reserved()
    _cap(loaded + 0.6 * (clock.peak_bytes - loaded))
    yield from _backs_off(model, count, tokens, expected)


def capped(card: Card, gigabytes: int) -> Iterator[Finding]:
    """Thirty-two pictures of this size on a card of so many GB: how many at once fit, and whether all are drawn."""
    card.need_gpu("memory is that of the card")
    _cap(gigabytes * 1e9 - 6e8)  # what the context takes
    try:
        model = card.model()
    except torch.OutOfMemoryError:
        yield Finding(f"{card.size} in {gigabytes} GB: the weights do not fit", None)
        return
    yield from _backs_off(model, 32, 64, None)


def _cap(num_bytes: float) -> None:
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, num_bytes / torch.cuda.get_device_properties(0).total_memory))


def _backs_off(model: JanusModel, count: int, tokens: int, expected: list[ImageTrace] | None) -> Iterator[Finding]:
    logging.getLogger("milr").setLevel(logging.ERROR)  # that a batch is halved is what is asked here
    size, executor = model.name.removeprefix("random-"), BatchExecutor(model)
    requests = [DrawRequest(prompt.text, Key(0, prompt.text), GUIDANCE, max_new_tokens=tokens)
                for prompt in random_janus.prompts(size, count)]  # fmt: skip
    results = executor("draw", requests)
    errors = [str(result) for result in results if isinstance(result, Exception)]
    numbers: dict[str, Any] = {"at_once": executor._limits.get("draw", count), "errors": errors[:1], **_held()}
    if expected is None:
        yield Finding(f"{count} pictures are drawn in what memory there is", not errors, numbers)
        return
    yield Finding("a batch that does not fit is halved", "draw" in executor._limits and not errors, numbers)
    if not errors:
        yield compare("its pictures are the same", expected, results)


def _stand_in() -> Finding:
    raised: list[int] = []

    class Full:
        name = "full"

        def draw(self, requests: Any) -> list[int]:
            if not raised:
                raised.append(1)
                raise torch.OutOfMemoryError("CUDA out of memory")
            return [1] * len(requests)

    logging.getLogger("milr").setLevel(logging.ERROR)
    executor = BatchExecutor(Full())  # type: ignore[arg-type]
    return Finding("a batch that does not fit is halved (a stand-in raises)", executor("draw", [1, 2, 3, 4]) == [1] * 4)
