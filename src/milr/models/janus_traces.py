"""From the results of the decode engine to the traces of the contract."""

from __future__ import annotations

from milr.models.decoding.request import DecodeResult
from milr.types import DrawRequest, ImageTrace, ReasonRequest, TextTrace


def text_trace(request: ReasonRequest, result: DecodeResult, text: str, seconds: float) -> TextTrace:
    """A written visualisation whose tokens are decoded to `text`."""
    prefix = open_prefix(request)
    return TextTrace(
        text=text,
        ids=(*prefix, *result.token_ids),
        latents=None if result.latents is None else result.latents[:, 0],
        near_ties=tuple(len(prefix) + position for position in result.near_ties),
        num_decoded=result.num_decoded,
        seconds=seconds,
        context=request.logits_dtype,
    )


def open_prefix(request: ReasonRequest) -> tuple[int, ...]:
    """The forced ids that the engine read as a part of the prompt."""
    return request.prefix if request.open_prefix else ()


def image_trace(request: DrawRequest, result: DecodeResult, seconds: float) -> ImageTrace:
    """A drawn picture; without log-probabilities where those of its forced tokens are not known."""
    num_forced = len(result.token_ids) - len(result.log_probs)
    known = request.prefix_log_probs or ()
    return ImageTrace(
        result.token_ids,
        latents=result.latents,
        near_ties=result.near_ties,
        num_decoded=result.num_decoded,
        seconds=seconds,
        context=request.logits_dtype,
        log_probs=(*known, *result.log_probs) if len(known) == num_forced else None,
    )
