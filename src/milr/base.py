"""The four contracts of the package. A third party that satisfies one of them can be named on the command line."""

from __future__ import annotations

import math
import sysconfig
import traceback
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from milr.types import (
    Answer,
    DrawRequest,
    ImageTrace,
    Key,
    Prompt,
    ReasonRequest,
    Score,
    Step,
    TextTrace,
)

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

MAX_MESSAGE = 500  # letters of an error of a third party's code
_PACKAGE = str(Path(__file__).parent)


@runtime_checkable
class UnifiedModel(Protocol):
    """A model that writes text and draws images with one transformer. All calls are batched; rows are independent.

    A model whose `reason` does what a request's `instruction` says has the attribute `follows_instructions`, True. One
    whose image tokens are no square grid has the attribute `image_rows`, one that lacks an ability `abilities`, and one
    whose pictures have no tokens that could be forced or moved `image_tokens` 0 (see the functions of these names).
    """

    name: str
    image_tokens: int
    guidance_scale: float

    def identity(self) -> Mapping[str, Any]:
        """What makes two runs the same model: name, weight hash, dtype, device."""

    def question(self, prompt: str) -> str:
        """The yes/no question with which this model judges its own picture of `prompt`."""

    def check(self, text: str) -> None:
        """Raise UsageError, naming the reason, when this model cannot read `text`."""

    def reason(self, requests: Sequence[ReasonRequest]) -> list[TextTrace]:
        """Write visualisations; forced tokens count among the first `num_latents`, whose latents are returned."""

    def draw(self, requests: Sequence[DrawRequest]) -> list[ImageTrace]:
        """Draw image tokens under classifier-free guidance."""

    def render(self, image_ids: Sequence[Sequence[int]]) -> list[Image]:
        """Image tokens, N per row, to pictures."""

    def answer(self, pictures: Sequence[Image], questions: Sequence[str], max_new_tokens: int | None = None
               ) -> list[Answer]:  # fmt: skip
        """Answer one question about each picture, in at most `max_new_tokens` (None: as many as its verdict takes)."""

    def decode_text(self, ids: Sequence[int]) -> str:
        """Token ids to text, special tokens left out."""

    def encode_text(self, text: str) -> tuple[int, ...]:
        """Text to token ids, without special tokens: the inverse of `decode_text` up to spacing."""

    def text_logits(self, trace: TextTrace, latents: Tensor) -> Tensor:
        """(n, d) text latents to (n, V) logits in fp32 (or as the trace's request asked), differentiable."""

    def image_logits(self, trace: ImageTrace, latents: Tensor, guidance_scale: float) -> Tensor:
        """(n, 2, d) image latents to (n, V) guided logits in fp32 (or as the request asked), differentiable."""

    @property
    def end_of_text(self) -> int:
        """The id that ends a visualisation."""


ABILITIES = frozenset({"write", "answer", "text_latents", "image_latents"})
"""What a model may do beside drawing: write visualisations, answer questions about pictures, and have latents of its
text and of its picture, whose tokens can be forced."""


def abilities(model: UnifiedModel) -> frozenset[str]:
    """What of `ABILITIES` the model has: its attribute `abilities`, else all of them."""
    return frozenset(getattr(model, "abilities", ABILITIES))


def image_steps(model: UnifiedModel) -> int:
    """The token-steps of one picture: its image tokens, or the denoising steps of a model that has none."""
    return model.image_tokens or int(getattr(model, "denoising_steps", 0))


def follows_instructions(model: UnifiedModel) -> bool:
    """Whether the model writes what it is told, and not only visualisations."""
    return bool(getattr(model, "follows_instructions", False))


def image_rows(model: UnifiedModel) -> int:
    """The rows of the grid of image tokens, each of image_tokens / rows tokens: its attribute `image_rows`, else those
    of a square; 0 for a model without image tokens."""
    num_tokens: int = getattr(model, "image_tokens", 0)
    return int(getattr(model, "image_rows", math.isqrt(num_tokens))) if num_tokens else 0


@runtime_checkable
class World(Protocol):
    """What a model that draws one small world only brings with it, as its attribute `world` (None: it draws anything).

    `name` is the word by which rewards ask for the world in their `needs`; `reward` and `metric` are the names, in the
    catalogue, of the judges that know it: what guides a search and what judges its result by default.
    """

    name: str
    reward: str
    metric: str

    def read(self, text: str, identity: str = "") -> Prompt | None:
        """The prompt with its category and metadata, or None where it is not about this world."""

    def vocabulary(self) -> Mapping[str, Sequence[str]]:
        """The words that prompts of this world are made of, by kind."""

    def advice(self, text: str) -> str:
        """One or two sentences for whoever asked for something else: what can be drawn, and what may be meant."""

    @property
    def description_question(self) -> str:
        """The question by which the model lists what it sees in a picture, whatever the prompt was."""

    def visualisations(self, description: str) -> tuple[str, ...]:
        """The visualisations of a picture of which the model gave this description; empty where it is unreadable."""

    def claims(self, prompt: str) -> tuple[str, ...]:
        """What a picture of the prompt must show, each a prompt of its own; the prompt alone where it has no parts."""

    def calibration(self, judge: str) -> tuple[float, float] | None:
        """Slope a and intercept b of P(right) = 1 / (1 + exp(-(a x + b))) from a judge's log-likelihood x in nats."""


@dataclass(frozen=True)
class LogLikelihood:
    """The log-likelihood of finished tokens: the sum over them in nats, how many they are, and the seconds spent."""

    total: float
    num_tokens: int
    seconds: float = 0.0

    @property
    def per_token(self) -> float:
        """The geometric mean of the tokens' probabilities, in [0, 1]."""
        return min(1.0, math.exp(self.total / self.num_tokens)) if self.num_tokens else 0.0


class Answers(Protocol):
    """What methods and rewards may both ask."""

    async def answer(self, picture: Image, question: str, max_new_tokens: int | None = None) -> Answer:
        """Ask the generating model about a picture; `max_new_tokens` None: as many as its verdict takes."""


class Services(Answers, Protocol):
    """The studio's narrow face towards rewards."""

    def image_of(self, picture: Image) -> ImageTrace | None:
        """The tokens of a picture with the request that they were drawn by; None: this studio did not draw it."""

    async def image_log_likelihood(self, request: DrawRequest, ids: Sequence[int]) -> LogLikelihood:
        """The log-likelihood of image tokens under another request's text and guidance, at temperature 1."""

    async def text_log_likelihood(self, prompt: str, text: str) -> LogLikelihood:
        """The log-likelihood of `text` and an end of text as the visualisation that the model writes of `prompt`."""

    async def write(self, instruction: str, max_new_tokens: int) -> TextTrace:
        """What the generating model writes greedily when it is told so; only for one that `follows_instructions`."""


@runtime_checkable
class Reward(Protocol):
    """Judges pictures. Raises JudgeError or returns `Score.unscored` when it cannot; never a made-up number.

    `needs` names what it judges by beside the picture and the prompt's text. A reward may also have `check(prompt)`,
    which raises UsageError for a prompt that it can never judge, `threshold_of(category)`, where categories differ,
    `identity()`, a mapping of what else tells two such rewards apart, and `best_of(scores, prompt)`, which compares the
    pictures of one search: the position of the best of their scores, in place of the highest (None: there is none).
    """

    name: str
    range: tuple[float, float]
    threshold: float
    needs: tuple[str, ...]
    licence: str

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score in [0, 1] for each picture with its prompt."""


class StudioFace(Answers, Protocol):
    """What a method may ask for; everything expensive is awaited, and gathered with like requests of other methods."""

    model: UnifiedModel

    async def reason(self, request: ReasonRequest) -> TextTrace: ...

    async def draw(self, request: DrawRequest) -> ImageTrace: ...

    async def render(self, image: ImageTrace) -> Image: ...

    async def score(self, picture: Image, prompt: Prompt) -> Score: ...

    async def image_log_probs(self, request: DrawRequest, ids: Sequence[int]) -> tuple[Tensor, float]:
        """The log-probabilities (N, V) at each position after the tokens before it, guided as requested; seconds."""

    async def compute(self, function: Callable[[], Any]) -> Any:
        """Run a small tensor computation on the model's thread."""


class Method(Protocol):
    """An algorithm about one prompt. It yields a Step for each picture and contains no budget and no stop rule."""

    def __call__(self, studio: StudioFace, prompt: Prompt, key: Key) -> AsyncIterator[Step]: ...


@runtime_checkable
class Benchmark(Protocol):
    """Prompts with ids, categories and metadata, and who judges them.

    `metric` is the report metric's name in the catalogue, `layout` the official folder layout ("": none). How scores
    become an overall score is the report's business, which knows runs and no benchmark.
    """

    name: str
    metric: str
    layout: str

    def prompts(self) -> list[Prompt]:
        """All prompts in the benchmark's order."""


def describe_error(error: BaseException) -> str:
    """What a third party's part raised, and where in its file: "ValueError: too dark (/home/me/reward.py, line 12)"."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_of_others(frame.filename)]
    message = " ".join(str(error).split())[:MAX_MESSAGE]
    words = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return f"{words} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else words


def _is_of_others(file: str) -> bool:
    """Whether a file is of this package, of Python or of an installed package."""
    return file.startswith(("<frozen", _PACKAGE, sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")))
