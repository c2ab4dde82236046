"""What a reward may ask of the studio: answers about a picture, its tokens, and log-likelihoods of finished tokens.

A log-likelihood is computed from forced tokens: the engine reads all of them in one forward, and batches it with the
requests of other methods.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from milr.base import LogLikelihood, StudioFace
from milr.types import Answer, DrawRequest, ImageTrace, Key, ReasonRequest, TextTrace

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

NO_KEY = Key(0, "")  # of requests in which every token is forced


class DrawnPictures:
    """The tokens of every picture that a studio rendered and that is still in use."""

    def __init__(self) -> None:
        self._images: dict[int, ImageTrace] = {}

    def add(self, picture: Image, image: ImageTrace) -> None:
        """Remember the tokens until the picture is deleted."""
        if not isinstance(image, ImageTrace):  # of a model whose pictures have no tokens
            return
        with suppress(TypeError):  # a picture of another kind than Pillow's may not say when it is deleted
            weakref.finalize(picture, self._images.pop, id(picture), None).atexit = False
            self._images[id(picture)] = replace(image, latents=None)

    def get(self, picture: Image) -> ImageTrace | None:
        """The tokens of a picture; None for one that the studio did not render."""
        return self._images.get(id(picture))


async def image_log_probs(studio: StudioFace, request: DrawRequest, ids: Sequence[int]) -> tuple[Tensor, float]:
    """The log-probabilities (N, V) of all tokens at each position of a finished picture, and the seconds spent.

    Position i is after the tokens before it, under the text and the guidance of the request, at temperature 1.
    """
    forced = replace(request, prefix=tuple(ids), prefix_log_probs=None, num_latents=None, max_new_tokens=len(ids),
                     temperature=0.0, noise=None)  # fmt: skip
    image = await studio.draw(forced)

    def log_probs() -> Any:
        logits = studio.model.image_logits(image, image.latents, request.guidance_scale)  # type: ignore[arg-type]
        return logits.detach().float().log_softmax(-1)

    return await studio.compute(log_probs), image.seconds


class _Studio(StudioFace, Protocol):
    """What the services need of the studio."""

    drawn: DrawnPictures

    def asked_by_reward(self) -> AbstractContextManager[None]: ...


class StudioServices:
    """What a reward may ask of the studio while a method waits for that reward."""

    def __init__(self, studio: _Studio) -> None:
        self._studio = studio

    async def answer(self, picture: Image, question: str, max_new_tokens: int | None = None) -> Answer:
        """Ask the model about a picture."""
        with self._studio.asked_by_reward():
            return await self._studio.answer(picture, question, max_new_tokens)

    def image_of(self, picture: Image) -> ImageTrace | None:
        """The tokens of a picture with the request that they were drawn by; None: this studio did not draw it."""
        return self._studio.drawn.get(picture)

    async def image_log_likelihood(self, request: DrawRequest, ids: Sequence[int]) -> LogLikelihood:
        """The log-likelihood of image tokens under the text and guidance of `request`, at temperature 1."""
        with self._studio.asked_by_reward():
            log_probs, seconds = await image_log_probs(self._studio, request, ids)
        return _sum_of(log_probs, ids, seconds)

    async def write(self, instruction: str, max_new_tokens: int) -> TextTrace:
        """What the model writes greedily when it is told so."""
        request = ReasonRequest("", NO_KEY, max_new_tokens=max_new_tokens, instruction=instruction)
        with self._studio.asked_by_reward():
            return await self._studio.reason(request)

    async def text_log_likelihood(self, prompt: str, text: str) -> LogLikelihood:
        """The log-likelihood of `text` and an end of text as the visualisation that the model writes of `prompt`."""
        model = self._studio.model
        ids = (*model.encode_text(text), model.end_of_text)
        request = ReasonRequest(prompt, NO_KEY, prefix=ids, num_latents=None)
        with self._studio.asked_by_reward():
            trace = await self._studio.reason(request)

            def log_probs() -> Any:
                logits = model.text_logits(trace, trace.latents)  # type: ignore[arg-type]
                return logits.detach().float().log_softmax(-1)

            return _sum_of(await self._studio.compute(log_probs), trace.ids, trace.seconds)


def _sum_of(log_probs: Tensor, ids: Sequence[int], seconds: float) -> LogLikelihood:
    """The sum of the log-probabilities (N, V) of the tokens (N,)."""
    chosen = [log_probs[position, token_id] for position, token_id in enumerate(ids)]
    return LogLikelihood(float(sum(chosen)), len(ids), seconds)
