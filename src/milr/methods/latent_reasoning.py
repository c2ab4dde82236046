"""MILR (arXiv 2509.22761), Algorithms 1 and 2, for one prompt.

As the paper does it:
1. Write the visualisation greedily and draw the picture; free are the first text_ratio of the text latents and the
   first image_ratio of the image latents, as decoded. They are never refreshed from later decodes.
2. At each step the modalities that the schedule names move by one policy-gradient update (equation 6), with the
   previous picture's reward, score - 1. Text first; the image prompt is rebuilt; then the image.
3. Text prefix: argmax of the moved latents, greedy continuation. Image prefix: sampled from its latents, moved or not,
   sampled continuation. Every step draws a new picture.
Where we differ: an end of text inside the prefix ends the text; a ratio above zero frees at least one token; after a
picture that could not be judged nothing moves and the picture is drawn again; stopping is the run loop's business.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace

import torch

from milr.base import Method, StudioFace
from milr.latent.prefix import Prefix, greedy_prefix, sampled_prefix
from milr.latent.schedules import Schedule
from milr.latent.update import Credit, LatentState, Logits, UpdateRule, execute, policy_gradient, start
from milr.methods.rollout import draw_and_score, make_step
from milr.policy import free_tokens, reward_of, surprise
from milr.templates import drawing
from milr.types import (
    DrawRequest,
    ImageTrace,
    Key,
    Modality,
    ModalityInfo,
    Prompt,
    ReasonRequest,
    Score,
    Step,
    TextTrace,
)


@dataclass(frozen=True)
class Settings:
    """Everything a user may choose. `guidance_scale` None is the model's own; `visualisation` supplies the first text.

    `epsilon` {} is an exact log-probability, else the release's constant by modality; `dtype` is that of latents and
    optimiser ("model": the weights'); `rule` moves the latents.
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


@dataclass(frozen=True)
class _State:
    """What a step hands to the next: both traces, both latent states (None: not free), and the last score."""

    text: TextTrace
    image: ImageTrace
    free: dict[Modality, LatentState]
    score: Score


def latent_reasoning(settings: Settings) -> Method:
    """The method, with its settings bound."""

    async def method(studio: StudioFace, prompt: Prompt, key: Key) -> AsyncIterator[Step]:
        run = _Run(studio, prompt, key, settings)
        state, step = await run.first()
        yield step
        for index in range(1, settings.steps + 1):
            state, step = await run.step(state, index)
            yield step

    return method


class _Run:
    """One prompt's run: the pseudo-code of Algorithm 1, with the studio as the machine."""

    def __init__(self, studio: StudioFace, prompt: Prompt, key: Key, settings: Settings) -> None:
        self.studio, self.prompt, self.key, self.settings = studio, prompt, key, settings
        self.model = studio.model
        scale = settings.guidance_scale
        self.guidance_scale = self.model.guidance_scale if scale is None else scale
        self._untouched: dict[Modality, torch.Tensor] = {}  # logits of the latents where they started

    async def first(self) -> tuple[_State, Step]:
        """The untouched rollout (equations 1 and 4) and the latents that it frees."""
        request = ReasonRequest(self.prompt.text, self.key, prefix=self._supplied(), num_latents=None)
        text = await self.studio.reason(request)
        draw = replace(self._draw_request(text, 0, ()), num_latents=self._free_image())
        rollout, score = await draw_and_score(self.studio, self.prompt, text, draw)
        state = _State(text, rollout.image, self._free(text, rollout.image), score)
        return state, make_step(0, rollout, score, written=text)

    async def step(self, state: _State, index: int) -> tuple[_State, Step]:
        """One update of what the schedule names, and the rollout that follows."""
        settings, free, text = self.settings, dict(state.free), state.text
        moves = () if state.score.value is None else settings.schedule.moves(index, settings.steps)
        moved: tuple[Modality, ...] = tuple(modality for modality in moves if modality in free)
        info: dict[Modality, ModalityInfo] = {}
        written = None
        if "text" in moved:
            free["text"], info["text"], text, written = await self._move_text(state, free["text"], index)
        prefix: tuple[int, ...] = ()
        ties: tuple[int, ...] = ()
        if "image" in free:
            free["image"], told, (prefix, ties) = await self._move_image(state, free["image"], index, "image" in moved)
            info |= {"image": told} if told else {}
        draw = self._draw_request(text, index, prefix)
        rollout, score = await draw_and_score(self.studio, self.prompt, text, draw)
        rollout = replace(rollout, image=replace(rollout.image, near_ties=(*ties, *rollout.image.near_ties)))
        changed = text.ids != state.text.ids
        step = make_step(index, rollout, score, written=written, moved=moved, info=info, text_changed=changed)
        return _State(text, state.image, free, score), step

    async def _move_text(
        self, state: _State, latent: LatentState, index: int
    ) -> tuple[LatentState, ModalityInfo, TextTrace, TextTrace | None]:
        """Update the text latents, then argmax prefix and greedy continuation (none, if the prefix did not change)."""

        def logits(latents: torch.Tensor) -> torch.Tensor:
            return self.model.text_logits(state.text, latents)

        def move() -> tuple[LatentState, ModalityInfo, Prefix]:
            moved, info = self._update("text", latent, logits, state.score, index)
            with torch.no_grad():
                before = logits(latent.latents)
                prefix = greedy_prefix(logits(moved.latents), self.model.end_of_text, before=before,
                                       executed=latent.tokens)  # fmt: skip
                info = replace(info, surprise=self._surprise("text", latent, logits, prefix))
            return moved, info, prefix

        moved, info, (prefix, ties) = await self.studio.compute(move)
        moved, changed = execute(moved, prefix)
        info = replace(info, tokens_changed=changed)
        if not changed:
            return moved, info, state.text, None
        text = await self.studio.reason(ReasonRequest(self.prompt.text, self.key.at(index), prefix=prefix))
        text = replace(text, near_ties=(*ties, *text.near_ties))
        return moved, info, text, text

    async def _move_image(
        self, state: _State, latent: LatentState, index: int, moves: bool
    ) -> tuple[LatentState, ModalityInfo | None, Prefix]:
        """Update the image latents where they move, then sample the prefix from them in any case."""

        def logits(latents: torch.Tensor) -> torch.Tensor:
            return self.model.image_logits(state.image, latents, self.guidance_scale)

        def move() -> tuple[LatentState, ModalityInfo | None, Prefix]:
            moved, info = latent, None
            if moves:
                moved, info = self._update("image", latent, logits, state.score, index)
            with torch.no_grad():
                prefix = sampled_prefix(logits(moved.latents), self.key.at(index), self.settings.temperature)
                if info:
                    strange = self._surprise("image", latent, logits, prefix, self.settings.temperature)
                    info = replace(info, surprise=strange)
            return moved, info, prefix

        moved, info, prefix = await self.studio.compute(move)
        moved, changed = execute(moved, prefix[0])
        return moved, replace(info, tokens_changed=changed) if info else None, prefix

    def _update(
        self, modality: Modality, latent: LatentState, logits: Logits, score: Score, index: int
    ) -> tuple[LatentState, ModalityInfo]:
        assert score.value is not None
        chosen = self.settings
        return chosen.rule(
            latent, logits, chosen.reward(score.value), key=self.key.at(index), modality=modality,
            learning_rate=chosen.learning_rate, l2=chosen.l2,
            temperature=chosen.temperature if modality == "image" else 1.0, credit=chosen.credit,
            epsilon=chosen.epsilon.get(modality),
        )  # fmt: skip

    def _surprise(self, modality: Modality, latent: LatentState, logits: Logits, prefix: Prefix,
                  temperature: float = 1.0) -> float:  # fmt: skip
        ids, _ = prefix
        if modality not in self._untouched:
            self._untouched[modality] = logits(latent.initial)
        before = self._untouched[modality]
        return surprise(before[: len(ids)], torch.tensor(ids, device=before.device), latent.first, temperature)

    def _free(self, text: TextTrace, image: ImageTrace) -> dict[Modality, LatentState]:
        """The latent states of the schedule's modalities; a prompt without text tokens has no text latents."""
        modalities, free = self.settings.schedule.modalities, {}
        count = free_tokens(self.settings.text_ratio, len(text.ids))
        if "text" in modalities and count and text.latents is not None:
            free["text"] = start(text.latents[:count], text.ids[:count], self._dtype())
        count = self._free_image()
        if count and image.latents is not None:
            free["image"] = start(image.latents[:count], image.ids[:count], self._dtype())
        return free  # type: ignore[return-value]

    def _free_image(self) -> int:
        free = "image" in self.settings.schedule.modalities
        return free_tokens(self.settings.image_ratio, self.model.image_tokens) if free else 0

    def _dtype(self) -> torch.dtype:
        name = self.settings.dtype
        return getattr(torch, self.model.identity()["dtype"] if name == "model" else name)  # type: ignore[no-any-return]

    def _supplied(self) -> tuple[int, ...]:
        said = self.settings.visualisation
        return () if said is None else (*self.model.encode_text(said), self.model.end_of_text)

    def _draw_request(self, text: TextTrace, index: int, prefix: tuple[int, ...]) -> DrawRequest:
        return DrawRequest(drawing(self.prompt.text, text.text), self.key.at(index), self.guidance_scale,
                           prefix=prefix, temperature=self.settings.temperature)  # fmt: skip
