"""MILR (arXiv 2509.22761), Algorithms 1 and 2, for one prompt.

As the paper does it:
1. Write the visualisation greedily and draw the picture; free are the first text_ratio of the text latents and the
   first image_ratio of the image latents, as decoded. They are never refreshed from later decodes.
2. At each step the modalities that the schedule names move by one policy-gradient update (equation 6), with the
   previous picture's reward, score - 1. Text first; the image prompt is rebuilt; then the image.
3. Text prefix: argmax of the moved latents, greedy continuation. Image prefix: sampled from its latents, moved or not,
   sampled continuation. Every step draws a new picture.
Where we differ:
4. An end of text inside the prefix ends the text.
5. A ratio above zero frees at least one token.
6. After a picture that could not be judged nothing moves, and a picture is drawn again.
7. The stop test and the budget are the run loop's (engine/search.py), which returns the best picture.
8. Under the preset `released` all that `latent/released.py` lists, 4 and 5 included, is as in the authors' code.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace

import torch

from milr.base import Method, StudioFace
from milr.latent.prefix import NO_PREFIX, Prefix, greedy_prefix, open_prefix, sampled_prefix
from milr.latent.released import Quirks
from milr.latent.schedules import Schedule
from milr.latent.update import (
    Credit,
    LatentState,
    Logits,
    UpdateRule,
    count_differences,
    execute,
    policy_gradient,
    start,
)
from milr.methods.rollout import draw_and_score, make_step
from milr.policy import reward_of, surprise
from milr.types import ImageTrace, Key, Modality, ModalityInfo, Prompt, Rollout, Score, Step, TextTrace


@dataclass(frozen=True)
class Settings:
    """Everything a user may choose. `guidance_scale` None is the model's own; `visualisation` supplies the first text.

    `epsilon` {} is an exact log-probability, else the release's constant by modality; `dtype` is that of latents and
    optimiser ("model": the weights'); `rule` moves the latents; `quirks` are the release's.
    """

    schedule: Schedule
    steps: int = 20
    text_ratio: float = 0.2
    image_ratio: float = 0.02
    learning_rate: float = 0.03
    l2: float = 0.0
    guidance_scale: float | None = None
    temperature: float = 1.0
    credit: Credit = "executed"
    epsilon: Mapping[Modality, float] = field(default_factory=dict)
    dtype: str = "float32"
    reward: Callable[[float], float] = reward_of
    rule: UpdateRule = policy_gradient
    visualisation: str | None = None
    quirks: Quirks = Quirks()


@dataclass(frozen=True)
class _State:
    """What a step hands to the next: the text t, the first image v, the free latents z by modality, and the last score.

    `text` None: pictures are drawn from the bare prompt. `tokens_by_updates` are those of the last step, or 0.
    """

    text: TextTrace | None
    image: ImageTrace
    free: Mapping[Modality, LatentState]
    score: Score
    tokens_by_updates: Mapping[Modality, int]


@dataclass(frozen=True)
class _Move:
    """The free latents of one modality after a step, the prefix that they gave, and what an update did (None: none).

    `tokens_by_updates` counts the tokens of the prefix that differ from those of the latents without any update.
    """

    latents: LatentState
    prefix: Prefix
    info: ModalityInfo | None
    tokens_by_updates: int


def latent_reasoning(settings: Settings) -> Method:
    """The method, with its settings bound."""

    async def method(studio: StudioFace, prompt: Prompt, key: Key) -> AsyncIterator[Step]:
        algorithm = _Algorithm(studio, prompt, key, settings)
        state, step = await algorithm.first_rollout()
        yield step
        for index in range(1, algorithm.steps(state) + 1):
            state, step = await algorithm.step(state, index)
            yield step

    return method


class _Algorithm:
    """The parts of Algorithm 1 for one prompt. The studio runs what is expensive."""

    def __init__(self, studio: StudioFace, prompt: Prompt, key: Key, settings: Settings) -> None:
        self.studio, self.prompt, self.key, self.settings = studio, prompt, key, settings
        self.model, self.quirks = studio.model, settings.quirks
        scale = settings.guidance_scale
        self.guidance_scale = self.model.guidance_scale if scale is None else scale
        self._first_logits: dict[Modality, torch.Tensor] = {}  # of the latents where they started

    # The loop

    async def first_rollout(self) -> tuple[_State, Step]:
        """Equations 1 and 4: write the text, draw the picture from it, and free the first latents of both."""
        text = await self._first_text()
        num_latents = self._free_tokens("image", self.model.image_tokens)
        rollout, score = await self._draw(text, 0, NO_PREFIX, num_latents)
        free = self._free_latents(text, rollout.image)
        state = _State(text, rollout.image, free, score, dict.fromkeys(free, 0))
        return state, make_step(0, rollout, score, written=text)

    def steps(self, state: _State) -> int:
        """K, the number of steps; 0 under `Quirks.no_minimum` where a modality of the schedule has no free latents."""
        missing = set(self.settings.schedule.modalities) - set(state.free)
        return 0 if missing and self.quirks.no_minimum else self.settings.steps

    async def step(self, state: _State, index: int) -> tuple[_State, Step]:
        """Equation 6 for the modalities that the schedule names, and the rollout that the moved latents give."""
        moved = self._moved(state, index)
        free, info = dict(state.free), dict[Modality, ModalityInfo | None]()
        tokens_by_updates = dict(state.tokens_by_updates)  # a text that does not move stays in force with its count
        text = new_text = state.text
        image_prefix = NO_PREFIX
        if "text" in moved and text is not None:
            move: _Move = await self.studio.compute(lambda: self._move_text(text, state, index))
            free["text"], info["text"], tokens_by_updates["text"] = move.latents, move.info, move.tokens_by_updates
            new_text = await self._continue_text(text, move, index)
        if "image" in free:
            move = await self.studio.compute(lambda: self._move_image(state, index, "image" in moved))
            free["image"], info["image"], tokens_by_updates["image"] = move.latents, move.info, move.tokens_by_updates
            image_prefix = move.prefix
        rollout, score = await self._draw(new_text, index, image_prefix)
        step = make_step(index, rollout, score, written=None if new_text is text else new_text, moved=moved,
                         info={modality: value for modality, value in info.items() if value},
                         text_changed=_ids(new_text) != _ids(text), tokens_by_updates=tokens_by_updates)  # fmt: skip
        return _State(new_text, state.image, free, score, tokens_by_updates), step

    def _moved(self, state: _State, index: int) -> tuple[Modality, ...]:
        """The modalities that the schedule names and that have free latents; none after an unscored picture."""
        if state.score.value is None:
            return ()
        named = self.settings.schedule.moves(index, self.settings.steps)
        return tuple(modality for modality in named if modality in state.free)

    # Decoding

    async def _first_text(self) -> TextTrace | None:
        """The greedy or the supplied visualisation, with all its latents; None where pictures have none."""
        supplied = self.settings.visualisation
        if supplied is None and not self.quirks.writes_text(self.settings.schedule):
            return None
        prefix = () if supplied is None else (*self.model.encode_text(supplied), self.model.end_of_text)
        return await self.studio.reason(
            self.quirks.reason_request(self.prompt.text, self.key, prefix=prefix, num_latents=None)
        )

    async def _continue_text(self, text: TextTrace, move: _Move, index: int) -> TextTrace:
        """The greedy continuation of the prefix that the update gave, or `text` itself where nothing changed."""
        unchanged = not move.info or not move.info.tokens_changed
        if unchanged and not self.quirks.rewrites(text.ids, move.prefix.ids, self.model.end_of_text):
            return text
        request = self.quirks.continue_request(self.prompt.text, self.key.at(index), move.prefix.ids)
        written = await self.studio.reason(request)
        return replace(written, near_ties=(*move.prefix.near_ties, *written.near_ties))

    async def _draw(
        self, text: TextTrace | None, index: int, prefix: Prefix, num_latents: int = 0
    ) -> tuple[Rollout, Score]:
        """Draw a picture from the prompt and `text`, its first tokens forced to `prefix`, and score it."""
        request = self.quirks.draw_request(
            self.prompt.text, None if text is None else text.text, self.key.at(index), self.guidance_scale,
            prefix=prefix.ids, num_latents=num_latents, temperature=self.settings.temperature,
            role_tags=self.quirks.role_tags(self.settings.schedule, index),
        )  # fmt: skip
        rollout, score = await draw_and_score(self.studio, self.prompt, text, request)
        near_ties = (*prefix.near_ties, *rollout.image.near_ties)
        return replace(rollout, image=replace(rollout.image, near_ties=near_ties)), score

    # Updating latents; these run on the model's thread

    def _move_text(self, text: TextTrace, state: _State, index: int) -> _Move:
        """Update the text latents; the prefix is the argmax of each."""
        latents = state.free["text"]

        def logits(z: torch.Tensor) -> torch.Tensor:
            return self.model.text_logits(text, z)

        moved, info = self._update("text", state, logits, index)
        with torch.no_grad():
            before, after = logits(latents.latents), logits(moved.latents)
            if self.quirks.open_prefix:
                prefix = open_prefix(after, before=before, executed=latents.tokens)
            else:
                prefix = greedy_prefix(after, self.model.end_of_text, before=before, executed=latents.tokens)
            first_tokens = tuple(latents.first_tokens.tolist())
            return self._executed("text", moved, info, prefix, logits, untouched=first_tokens)

    def _move_image(self, state: _State, index: int, moves: bool) -> _Move:
        """Update the image latents if they move at this step; the prefix is sampled from them in any case."""

        def logits(z: torch.Tensor) -> torch.Tensor:
            return self.model.image_logits(state.image, z, self.guidance_scale)

        moved, info = self._update("image", state, logits, index) if moves else (state.free["image"], None)
        with torch.no_grad():
            key, temperature = self.key.at(index), self.settings.temperature
            prefix = sampled_prefix(logits(moved.latents), key, temperature)
            untouched = sampled_prefix(self._logits_at_first("image", moved, logits), key, temperature)
            return self._executed("image", moved, info, prefix, logits, untouched=untouched.ids)

    def _update(
        self, modality: Modality, state: _State, logits: Logits, index: int
    ) -> tuple[LatentState, ModalityInfo]:
        """z <- z + eta J(z), by the rule that the settings name."""
        settings, score = self.settings, state.score.value
        assert score is not None
        return settings.rule(
            state.free[modality], logits, settings.reward(score), key=self.key.at(index), modality=modality,
            learning_rate=settings.learning_rate, l2=settings.l2, temperature=self._temperature(modality),
            credit=settings.credit, epsilon=settings.epsilon.get(modality),
        )  # fmt: skip

    def _executed(self, modality: Modality, moved: LatentState, info: ModalityInfo | None, prefix: Prefix,
                  logits: Logits, *, untouched: tuple[int, ...]) -> _Move:  # fmt: skip
        """Record the prefix with the latents that gave it, and what it changed with the update's info; `untouched` is
        what the latents would give without any update, and the tokens that differ from it are counted."""
        latents, tokens_changed = execute(moved, prefix.ids)
        if info:
            excess = self._surprise(modality, moved, logits, prefix.ids)
            info = replace(info, tokens_changed=tokens_changed, surprise=excess)
        return _Move(latents, prefix, info, count_differences(untouched, prefix.ids))

    def _surprise(self, modality: Modality, latents: LatentState, logits: Logits, ids: tuple[int, ...]) -> float:
        """`policy.surprise` of the prefix under the latents before any update."""
        first = self._logits_at_first(modality, latents, logits)
        tokens = torch.tensor(ids, device=first.device)
        return surprise(first[: len(ids)], tokens, latents.first_tokens, self._temperature(modality))

    def _logits_at_first(self, modality: Modality, latents: LatentState, logits: Logits) -> torch.Tensor:
        """The logits of the latents before any update, computed once."""
        if modality not in self._first_logits:
            self._first_logits[modality] = logits(latents.initial)
        return self._first_logits[modality]

    def _temperature(self, modality: Modality) -> float:
        return self.settings.temperature if modality == "image" else 1.0

    # What is free

    def _free_latents(self, text: TextTrace | None, image: ImageTrace) -> dict[Modality, LatentState]:
        """The latents z of each of the schedule's modalities that has any."""
        traces: dict[Modality, TextTrace | ImageTrace | None] = {"text": text, "image": image}
        free: dict[Modality, LatentState] = {}
        for modality, trace in traces.items():
            count = self._free_tokens(modality, len(trace.ids)) if trace else 0
            if count and trace and trace.latents is not None:
                free[modality] = start(trace.latents[:count], trace.ids[:count], self._dtype())
        return free

    def _free_tokens(self, modality: Modality, length: int) -> int:
        """How many of a modality's latents are free; 0 for one that the schedule never moves."""
        if modality not in self.settings.schedule.modalities:
            return 0
        ratio = self.settings.text_ratio if modality == "text" else self.settings.image_ratio
        return self.quirks.free_tokens(ratio, length)

    def _dtype(self) -> torch.dtype:
        name = self.settings.dtype
        return getattr(torch, self.model.identity()["dtype"] if name == "model" else name)  # type: ignore[no-any-return]


def _ids(text: TextTrace | None) -> tuple[int, ...]:
    return text.ids if text else ()
