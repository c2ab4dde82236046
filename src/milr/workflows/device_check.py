"""What a model does on a device: whether its tokens hold there, how fast it draws, how many searches at once pay.

The short form of `benchmarks/gpu_check.py`, with the weights that will be used and a few pictures.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from milr.options import Options
from milr.templates import drawing
from milr.types import DrawRequest, ImageTrace, Key
from milr.workflows.doctor import Finding
from milr.workflows.prepare import load_model

if TYPE_CHECKING:
    from milr.base import UnifiedModel

PROMPT = "two blue circles"
IN_FLIGHT = (1, 2, 4, 8, 16, 32)
WORTH = 1.1  # times the pictures a second that more searches at once must give


def check_device(options: Options) -> Iterator[Finding]:
    """A finding after each check. UsageError for a device that is not here; MissingError for such a model."""
    model = load_model(options)
    identity = model.identity()
    yield Finding(f"{model.name} is loaded: {identity.get('dtype')} on {identity.get('device')}", True)
    rates = dict(_rates(model))
    yield _recommendation(rates)
    eight = _draw(model, 8)
    yield _agreement("a picture alone and among eight", _draw(model, 1), eight)
    if (
        identity.get("device") == "cuda"
        and options.graphs
        and callable(leave := getattr(model, "without_graphs", None))
    ):
        leave()
        yield _agreement("pictures drawn by CUDA graphs and without (else take --no-graphs)", _draw(model, 8), eight)


def _rates(model: UnifiedModel) -> Iterator[tuple[int, float]]:
    """Pictures a second by how many are drawn at once, until memory does not hold more."""
    from milr.outside.memory import is_out_of_memory

    for count in IN_FLIGHT:
        try:
            _draw(model, count)  # the first time allocates, and captures what is to be captured
            start = time.perf_counter()
            _draw(model, count)
        except Exception as error:
            if not is_out_of_memory(error) or count == 1:
                raise
            return
        yield count, count / (time.perf_counter() - start)


def _recommendation(rates: dict[int, float]) -> Finding:
    """How many searches at once pay: the fewest than which no number is WORTH more."""
    best, most = min(rates), max(rates)
    for count in rates:
        if rates[count] >= WORTH * rates[best]:
            best = count
    measured = ", ".join(f"{rate:.3g} with {count}" for count, rate in rates.items())
    limit = "" if most == IN_FLIGHT[-1] else f" (memory does not hold {2 * most})"
    return Finding(f"pictures a second: {measured} at once{limit}; take --in-flight {best}", True)


def _agreement(what: str, some: Sequence[ImageTrace], others: Sequence[ImageTrace]) -> Finding:
    """Whether pictures have the same tokens, up to the first near tie of either."""
    parted = [_parted(one, other) for one, other in zip(some, others, strict=False)]
    wrong, ties = parted.count("wrong"), parted.count("tie")
    if wrong:
        return Finding(f"{what} are not the same: {wrong} of {len(parted)} differ beyond rounding", False)
    return Finding(f"{what} are the same{f', {ties} of {len(parted)} up to a near tie' if ties else ''}", True)


def _parted(one: ImageTrace, other: ImageTrace) -> str:
    """ "" where the tokens are equal, "tie" where they part at a near tie, else "wrong"."""
    for place, (token, other_token) in enumerate(zip(one.ids, other.ids, strict=True)):
        if token != other_token:
            return "tie" if place in (*one.near_ties, *other.near_ties) else "wrong"
    return ""


def _draw(model: UnifiedModel, count: int) -> list[ImageTrace]:
    keys = [Key(0, PROMPT, sample) for sample in range(count)]
    requests = [DrawRequest(drawing(PROMPT), key, model.guidance_scale) for key in keys]
    return list(model.draw(requests))
