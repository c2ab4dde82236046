"""Every record of the package, frozen. Tensors appear in annotations only: importing this file loads nothing heavy."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from milr.outside.figure import figure_of
from milr.outside.text import MAX_MESSAGE, clean

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

Modality = Literal["text", "image"]
StopReason = Literal["threshold", "steps", "budget", "judge_failed", "stopped"]
LogitsDtype = Literal["float32", "model"]


class MilrError(Exception):
    """Something the user can mend: `str(error)` is one printable sentence, what is wrong and what to do."""

    exit_code = 2

    def __init__(self, message: str = "") -> None:
        super().__init__(clean(str(message), MAX_MESSAGE))


class MilrWarning(UserWarning):
    """What a user of the Python interface should know: a prompt that the model cannot draw, a run without a score."""


class UsageError(MilrError):
    """A bad argument or prompt (exit code 2)."""


class MissingError(MilrError):
    """A dependency or weights that are absent or damaged (exit code 3)."""

    exit_code = 3


class JudgeError(MilrError):
    """A judge or model that failed for good (exit code 4)."""

    exit_code = 4


@dataclass(frozen=True)
class Prompt:
    """The instruction c. `metadata` is GenEval's clause format when a benchmark or the shapes grammar knows it.

    `source` is the benchmark file's own line, byte for byte without its end, for official layouts.
    """

    text: str
    id: str = ""
    category: str = ""
    metadata: Mapping[str, Any] | None = None
    source: str = ""


@dataclass(frozen=True)
class Key:
    """Names one stream of randomness; it depends on what is asked, never on the method or the batch."""

    seed: int
    prompt: str
    sample: int = 0
    step: int = 0
    candidate: int = 0

    def at(self, step: int, candidate: int = 0) -> Key:
        """The key of another step or candidate of the same sample."""
        return replace(self, step=step, candidate=candidate)


@dataclass(frozen=True)
class ReasonRequest:
    """One visualisation to write, of at most `max_new_tokens` with the forced ids of `prefix`.

    The first `num_latents` latents are returned (None: all of them). `temperature` 0 is greedy. `noise` (n, V)
    overrides the keyed exponentials of the first n positions. `instruction` is a user turn in place of the template
    that asks for a visualisation of `prompt` (`base.follows_instructions`). For the `released` preset only: after an
    `open_prefix` follow at least one and at most max_new_tokens + 1 tokens, an end of text inside it ends nothing, and
    no latents are kept; `strip` False leaves blanks at both ends; `logits_dtype` "model": `text_logits` in the weights'
    dtype.
    """

    prompt: str
    key: Key
    prefix: tuple[int, ...] = ()
    max_new_tokens: int = 512
    num_latents: int | None = 0
    temperature: float = 0.0
    noise: Tensor | None = None
    instruction: str | None = None
    open_prefix: bool = False
    strip: bool = True
    logits_dtype: LogitsDtype = "float32"


@dataclass(frozen=True)
class DrawRequest:
    """One picture to draw from `text` (the whole drawing content, "c. t").

    `prefix` ids are forced (`prefix_log_probs`, where known, become the first of the trace's). `max_new_tokens` asks
    for the first tokens only, forced ones included (None: all N). The first `num_latents` latents are returned (None:
    all of them). `temperature` 0 is greedy. `noise` (n, V) overrides the keyed exponentials of the first n positions.
    For the `released` preset only: `role_tags` replace the model's; `logits_dtype` "model" runs guidance and softmax in
    the dtype of the weights, here and in `image_logits`.
    """

    text: str
    key: Key
    guidance_scale: float
    prefix: tuple[int, ...] = ()
    max_new_tokens: int | None = None
    num_latents: int | None = 0
    temperature: float = 1.0
    noise: Tensor | None = None
    role_tags: Literal["pipe", "plain"] | None = None
    logits_dtype: LogitsDtype = "float32"
    prefix_log_probs: tuple[float, ...] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What decoding leaves behind beside its tokens, in both modalities.

    `latents` (num_latents, ...) in fp32 are those that a request asked to keep. `near_ties` are positions whose two
    best tokens were too close to trust. `num_decoded` counts token-steps spent, `seconds` this request's share of its
    batch. `context` is the model's own.
    """

    latents: Tensor | None = None
    near_ties: tuple[int, ...] = ()
    num_decoded: int = 0
    seconds: float = 0.0
    context: Any = None


@dataclass(frozen=True)
class TextTrace(Trace):
    """A written visualisation: ids (M,) with the end-of-text token if it was reached, latents (num_latents, d)."""

    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class ImageTrace(Trace):
    """A drawn picture: ids (N,), latents (num_latents, 2, d) of the conditional and, unless guidance is 1, the
    unconditional sequence, `log_probs` (N,) as guided and at temperature 1 (None: not all are known)."""

    ids: tuple[int, ...]
    request: DrawRequest | None = None  # set by the studio
    log_probs: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Answer:
    """What the model said about a picture: free text, `complete` unless the limit of tokens cut it off, and P(yes) /
    (P(yes) + P(no)) of its verdict, if any."""

    text: str
    yes: float | None
    seconds: float = 0.0
    complete: bool = True


@dataclass(frozen=True)
class Rollout:
    """One visualisation (None: drawn from the bare prompt), its image tokens, and the picture."""

    visualisation: TextTrace | None
    image: ImageTrace
    picture: Image


@dataclass(frozen=True)
class Score:
    """A judgement in [0, 1], higher is better; `value` None is unscored, and `reason` says why.

    `parts` are named sub-scores in [0, 1]; `calls` counts reward calls, `seconds` their time.
    """

    value: float | None
    parts: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    calls: int = 1
    seconds: float = 0.0

    @staticmethod
    def unscored(reason: str, **spent: Any) -> Score:
        """A judgement that could not be made: neither a zero nor a pass."""
        return Score(None, reason=reason, **spent)


@dataclass(frozen=True)
class Cost:
    """What was spent. `token_steps` counts decoded positions (a guidance pair is one)."""

    pictures: int = 0
    token_steps: int = 0
    reward_calls: int = 0
    model_seconds: float = 0.0
    reward_seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.pictures + other.pictures, self.token_steps + other.token_steps,
                    self.reward_calls + other.reward_calls, self.model_seconds + other.model_seconds,
                    self.reward_seconds + other.reward_seconds)  # fmt: skip


@dataclass(frozen=True)
class ModalityInfo:
    """What one update did to the latents of one modality.

    `distance` is the rms of z - z0 over the free latents; `surprise` is `policy.surprise` of the new tokens under the
    untouched latents, in nats per token (None: not measured). `tokens_changed` counts the free tokens that differ from
    the rollout before; image tokens are sampled, so some do without any update.
    """

    loss: float
    gradient_norm: float
    update_norm: float
    distance: float
    tokens_changed: int
    free_tokens: int
    surprise: float | None = None


@dataclass(frozen=True, repr=False)
class Step:
    """One rollout with its score, what moved to reach it, and what it cost. Index 0 is the untouched first rollout.

    `tokens_by_updates` counts by modality the free tokens that differ from what the latents without any update give at
    this step with the same noise. It has an entry for each free modality of a step after the first, and is empty where
    the method does not count. `note` says in the method's own words what it did. `chosen` is the position of the best
    step up to this one, where the reward compares pictures with each other (None: it is the highest score).
    """

    index: int
    rollout: Rollout
    score: Score
    moved: tuple[Modality, ...] = ()
    info: Mapping[Modality, ModalityInfo] = field(default_factory=dict)
    text_changed: bool = False
    repetition: float = 0.0
    cost: Cost = field(default_factory=Cost)
    tokens_by_updates: Mapping[Modality, int] = field(default_factory=dict)
    note: str = ""
    chosen: int | None = None

    @property
    def num_tokens_by_updates(self) -> int:
        """How many free tokens, of text and image, are others than without any update; 0: the step only drew again."""
        return sum(self.tokens_by_updates.values())

    def __repr__(self) -> str:
        changed = f", {self.num_tokens_by_updates} tokens changed by updates" if self.num_tokens_by_updates else ""
        return f"<Step {self.index}: score {_number(self.score.value)}{changed}>"

    def _repr_html_(self) -> str:
        return figure_of(self.rollout.picture, f"step {self.index}: {_number(self.score.value)}")


@dataclass(frozen=True, repr=False)
class Outcome:
    """Everything a search made for one prompt and sample. `best` indexes `steps`; None when nothing was scored.

    `judged` holds the report metric's scores by position in `steps`, of the pictures that some budget would have
    returned (empty when no other judge was asked).
    """

    prompt: Prompt
    key: Key
    steps: tuple[Step, ...]
    best: int | None
    returned: int
    stop: StopReason
    cost: Cost
    judged: Mapping[int, Score] = field(default_factory=dict)

    @property
    def unjudged(self) -> str:
        """Why it is to be judged again, because a judge gave up: the last reason, or ""."""
        failed = [score.reason for score in self.judged.values() if score.value is None]
        failed += [self.steps[-1].score.reason] if self.stop == "judge_failed" else []
        return failed[-1] or "no reason given" if failed else ""

    @property
    def picture(self) -> Image:
        """The returned picture (best so far, or the last one under the `released` preset)."""
        return self.steps[self.returned].rollout.picture

    @property
    def score(self) -> Score:
        """The returned picture's score."""
        return self.steps[self.returned].score

    @property
    def first_score(self) -> Score:
        """The untouched first picture's score."""
        return self.steps[0].score

    def __repr__(self) -> str:
        scores = f"{_number(self.first_score.value)} -> {_number(self.score.value)}"
        return f"<Outcome {self.prompt.text!r}: score {scores}, {len(self.steps)} pictures, stopped by {self.stop}>"

    def _repr_html_(self) -> str:
        """The first picture and, where it is another, the returned one, with their scores."""
        shown = dict.fromkeys((0, self.returned))
        names = {0: "first", self.returned: "returned"}
        figures = [figure_of(self.steps[index].rollout.picture,
                           f"{names[index]} (step {self.steps[index].index}): {_number(self.steps[index].score.value)}")
                   for index in shown]  # fmt: skip
        title = html.escape(f"{self.prompt.text} ({len(self.steps)} pictures, stopped by {self.stop})")
        return f"<div><p>{title}</p>{''.join(figures)}</div>"


class Outcomes(list[Outcome]):
    """The outcomes of several searches, in the order of the prompts; a list that shows its pictures in a notebook."""

    SHOWN = 24  # in a notebook; the others are counted

    def __repr__(self) -> str:
        return f"<{len(self)} outcomes>" if len(self) > 3 else f"<Outcomes {super().__repr__()}>"

    def _repr_html_(self) -> str:
        more = f"<p>and {len(self) - self.SHOWN} more</p>" if len(self) > self.SHOWN else ""
        return "".join(outcome._repr_html_() for outcome in self[: self.SHOWN]) + more


def _number(score: float | None) -> str:
    return "unscored" if score is None else f"{score:.2f}"
