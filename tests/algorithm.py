"""MILR on a small random Janus without a stop rule, and the same written again slowly and independently."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from milr.base import StudioFace
from milr.latent.schedules import SCHEDULES
from milr.methods.latent_reasoning import Settings, _Algorithm, _State
from milr.models.janus import JanusModel
from milr.randomness import generator
from milr.types import Key, Modality, Prompt, Step
from scripted import Recording, Scripted

PROMPT = Prompt("a red star")
KEY = Key(seed=5, prompt=PROMPT.text)
LEARNING_RATE = 0.3  # large enough that tokens flip within a few steps
SCALE = 2.0


def settings(schedule: str = "joint", **changes: Any) -> Settings:
    defaults: dict[str, Any] = dict(
        steps=4, text_ratio=0.2, image_ratio=0.2, learning_rate=LEARNING_RATE, guidance_scale=SCALE
    )
    return Settings(SCHEDULES[schedule], **(defaults | changes))


@dataclass
class Trajectory:
    """Every state and step of one run, and what the studio was asked for."""

    states: list[_State]
    steps: list[Step]
    studio: Recording

    def latents(self, modality: Modality) -> list[Tensor]:
        return [state.free[modality].latents for state in self.states]

    def texts(self) -> list[tuple[int, ...]]:
        return [step.rollout.visualisation.ids for step in self.steps if step.rollout.visualisation]

    def images(self) -> list[tuple[int, ...]]:
        return [step.rollout.image.ids for step in self.steps]


def trajectory(
    model: JanusModel, chosen: Settings, *scores: float | None, prompt: Prompt = PROMPT, key: Key = KEY
) -> Trajectory:
    """The first rollout and every step, without a stop rule."""
    studio = Recording(model, Scripted(*(scores or (0.0,))))
    result = Trajectory([], [], studio)

    async def go() -> None:
        algorithm = _Algorithm(cast(StudioFace, studio), prompt, key, chosen)
        async with studio.method():
            state, step = await algorithm.first_rollout()
            result.states.append(state)
            result.steps.append(step)
            for index in range(1, algorithm.steps(state) + 1):
                state, step = await algorithm.step(state, index)
                result.states.append(state)
                result.steps.append(step)

    try:
        asyncio.run(asyncio.wait_for(go(), 60))
    finally:
        studio.close()
    return result


def up_to_end(ids: Sequence[int], end: int) -> tuple[int, ...]:
    return tuple(ids[: list(ids).index(end) + 1] if end in ids else ids)


def drawn(logits: Tensor, key: Key) -> tuple[int, ...]:
    """What torch's own multinomial draws from the request's generator."""
    stream = generator(key, "image")
    return tuple(int(torch.multinomial(row.softmax(-1), 1, generator=stream)) for row in logits)


class Slow:
    """JOINT in plain torch: no studio, no cache, no batch, and torch's own Adam and multinomial."""

    def __init__(self, model: JanusModel) -> None:
        self.model, self.network = model, model.network

    def hidden(self, inputs: Tensor) -> Tensor:
        """(1, L, d) inputs to the last latent (d,)."""
        output = self.network.model.language_model(inputs_embeds=inputs, use_cache=False)
        return cast(Tensor, output.last_hidden_state[0, -1])

    def embed(self, ids: Sequence[int]) -> Tensor:
        return cast(Tensor, self.network.get_input_embeddings()(torch.tensor([list(ids)])))

    def text(self, prefix: Sequence[int] = ()) -> tuple[list[int], Tensor]:
        """Greedy text after `prefix`, and all latents."""
        prompt = self.model.tokenizer.encode(self.model.templates.reason(PROMPT.text), add_special_tokens=False)
        ids: list[int] = []
        latents = []
        while len(ids) < 120 and (not ids or ids[-1] != self.model.ids.end):
            latents.append(self.hidden(self.embed([self.model.ids.begin, *prompt, *ids])))
            likeliest = int(self.network.lm_head(latents[-1]).argmax())
            ids.append(prefix[len(ids)] if len(ids) < len(prefix) else likeliest)
        return ids, torch.stack(latents)

    def turn(self, text: Sequence[int], step: int) -> str:
        """What the picture of a step is drawn from."""
        words = self.model.tokenizer.decode(list(text), skip_special_tokens=True).strip()
        return self.model.templates.draw(f"{PROMPT.text}. {words}" if words else PROMPT.text)

    def image(self, text: Sequence[int], step: int, prefix: Sequence[int] = ()) -> tuple[list[int], Tensor]:
        """Sampled image after `prefix` under guidance, and all pairs of latents."""
        inner = self.model.tokenizer.encode(self.turn(text, step), add_special_tokens=False)
        special = self.model.ids
        streams = [[special.begin, *inner, special.begin_image],
                   [special.begin, *[special.pad] * len(inner), special.begin_image]]  # fmt: skip
        noise, ids, latents = generator(KEY.at(step), "image"), list[int](), []
        for position in range(16):
            inputs = [self.embed(stream) for stream in streams]
            if ids:
                tail = self.network.prepare_embeddings_for_image_generation(torch.tensor([ids]))
                inputs = [torch.cat([prompt, tail], dim=1) for prompt in inputs]
            latents.append(torch.stack([self.hidden(stream) for stream in inputs]))
            sampled = int(torch.multinomial(self.guided(latents[-1][None])[0].softmax(-1), 1, generator=noise))
            ids.append(prefix[position] if position < len(prefix) else sampled)
        return ids, torch.stack(latents)

    def guided(self, latents: Tensor) -> Tensor:
        conditional, unconditional = self.network.model.generation_head(latents).unbind(1)
        return cast(Tensor, (1 - SCALE) * unconditional + SCALE * conditional)

    @torch.no_grad()
    def run(self, scores: Sequence[float], free: tuple[int, int]) -> list[tuple[list[int], list[int]]]:
        """Text and image tokens of the first rollout and of one JOINT step for each further score."""
        text, all_text = self.text()
        image, all_image = self.image(text, 0)
        z_text, z_image = all_text[: free[0]].clone(), all_image[: free[1]].clone()
        optimisers = [torch.optim.Adam([z.requires_grad_()], lr=LEARNING_RATE) for z in (z_text, z_image)]
        heads = (self.network.lm_head, self.guided)
        rollouts = [(text, image)]
        for step, score in enumerate(scores, 1):
            for z, ids, head, optimiser in zip((z_text, z_image), (text, image), heads, optimisers, strict=True):
                with torch.enable_grad():
                    chosen = torch.tensor(ids[: len(z)])
                    log_p = head(z)[: len(chosen)].log_softmax(-1)[torch.arange(len(chosen)), chosen]
                    optimiser.zero_grad()
                    (-(score - 1) * log_p.sum()).backward()
                optimiser.step()
            forced = up_to_end(self.network.lm_head(z_text).argmax(-1).tolist(), self.model.ids.end)
            text, _ = self.text(forced)
            image, _ = self.image(text, step, drawn(self.guided(z_image), KEY.at(step)))
            rollouts.append((text, image))
        return rollouts
