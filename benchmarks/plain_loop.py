"""MILR decoded the plain way, as the released research code does it; the yardstick of `speed.py`.

One prompt at a time. Text without a key-value cache: a whole forward for every token. One picture at a time: two
streams over a growing cache. Text and picture are decoded again at every step, whether or not their prefix changed;
the updated prefix is read together with its prompt. The judge is left out. Written for this purpose, with our own
update and randomness, so that its tokens are those of `JanusModel`, near ties aside.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from PIL.Image import Image
from torch import Tensor
from transformers import DynamicCache

from milr.latent.prefix import greedy_prefix, sampled_prefix
from milr.latent.update import LatentState, execute, start, update
from milr.methods.latent_reasoning import Settings
from milr.models.janus import JanusModel
from milr.models.pictures import to_pictures
from milr.policy import free_tokens, guided_logits
from milr.randomness import NEAR_TIE, NoiseStream, sample_tokens
from milr.templates import drawing
from milr.types import ImageTrace, Key, TextTrace


@dataclass(frozen=True)
class PlainStep:
    """What one step made, and when it was done: seconds since the search began."""

    text: TextTrace
    image: ImageTrace
    picture: Image
    seconds: float


@dataclass
class PlainLoop:
    """One Janus, decoded plainly. `seconds` gathers what writing, drawing and rendering took."""

    model: JanusModel
    text_tokens: int = 512
    seconds: dict[str, float] = field(default_factory=lambda: {"reason": 0.0, "draw": 0.0, "render": 0.0})

    @torch.no_grad()
    def write(self, prompt: str, prefix: tuple[int, ...] = ()) -> TextTrace:
        """A greedy visualisation of at most `text_tokens` tokens, `prefix` forced; every latent is kept."""
        began = time.perf_counter()
        network, end = self.model.network, self.model.ids.end
        prompt_ids = self._encode(self.model.templates.reason(prompt))
        ids, latents, ties = list(prefix[: self.text_tokens]), [], []
        ids = ids[: ids.index(end) + 1] if end in ids else ids
        hidden = None
        while len(ids) < self.text_tokens and (not ids or ids[-1] != end):
            hidden = self._read([prompt_ids + ids])[0]
            logits = network.lm_head(hidden[-1:]).float()
            token, lead = sample_tokens(logits, torch.zeros(1, device=logits.device))
            ties += [len(ids)] if float(lead) < NEAR_TIE else []
            ids.append(int(token))
        if hidden is None:
            hidden = self._read([prompt_ids + ids[:-1]])[0]
        latents = hidden[len(prompt_ids) - 1 :].float()
        return TextTrace(self.model.decode_text(ids), tuple(ids), latents=latents, near_ties=tuple(ties),
                         num_decoded=len(ids) - len(prefix), seconds=self._spent("reason", began))  # fmt: skip

    @torch.no_grad()
    def draw(self, text: str, key: Key, settings: Settings, prefix: tuple[int, ...] = ()) -> ImageTrace:
        """One picture's tokens, `prefix` forced; every latent is kept."""
        began = time.perf_counter()
        model, network = self.model, self.model.network
        guidance = _guidance(model, settings)
        conditional = [*self._encode(model.templates.draw(text)), model.ids.begin_image]
        unconditional = [conditional[0], *[model.ids.pad] * (len(conditional) - 2), conditional[-1]]
        noise = NoiseStream(key, "image", network.config.vq_config.num_embeddings)
        inputs = network.get_input_embeddings()(self._tensor([conditional, unconditional]))
        if prefix:
            inputs = torch.cat([inputs, self._seen(prefix)], dim=1)
        cache = DynamicCache(config=network.model.language_model.config)
        hidden = self._forward(inputs, cache)[:, len(conditional) - 1 :]
        ids, latents, ties = list(prefix), list(hidden.unbind(1)), []
        while len(ids) < model.image_tokens:
            if len(latents) == len(ids):
                latents.append(self._forward(self._seen(ids[-1:]), cache)[:, -1])
            pair = network.model.generation_head(latents[-1]).float()
            logits = guided_logits(pair[:1], pair[1:], guidance)
            temperature = torch.tensor([settings.temperature], device=logits.device)
            token, lead = sample_tokens(logits, temperature, noise.at(len(ids))[None].to(logits.device))
            ties += [len(ids)] if float(lead) < NEAR_TIE else []
            ids.append(int(token))
        kept = torch.stack(latents[: len(ids)]).float()
        return ImageTrace(tuple(ids), latents=kept, near_ties=tuple(ties), num_decoded=len(ids) - len(prefix),
                          seconds=self._spent("draw", began))  # fmt: skip

    @torch.no_grad()
    def render(self, ids: Sequence[int]) -> Image:
        """One picture."""
        began = time.perf_counter()
        (picture,) = to_pictures(self.model.network.decode_image_tokens(self._tensor([list(ids)])))
        self._spent("render", began)
        return picture

    def search(self, prompt: str, key: Key, settings: Settings, scores: Sequence[float]) -> list[PlainStep]:
        """Joint MILR, both ratios above 0: the first picture, and a step for each score; `scores[k]` is step k's."""
        began = time.perf_counter()
        text = self.write(prompt)
        image = self.draw(drawing(prompt, text.text), key, settings)
        first = text, image
        steps = [PlainStep(text, image, self.render(image.ids), time.perf_counter() - began)]
        states = self._free(text, image, settings)
        for index, score in enumerate(scores, start=1):
            states, text, image = self._step(prompt, key.at(index), settings, first, states, score)
            steps.append(PlainStep(text, image, self.render(image.ids), time.perf_counter() - began))
        return steps

    def _free(self, text: TextTrace, image: ImageTrace, settings: Settings) -> tuple[LatentState, LatentState]:
        assert text.latents is not None and image.latents is not None
        words = free_tokens(settings.text_ratio, len(text.ids))
        places = free_tokens(settings.image_ratio, len(image.ids))
        return start(text.latents[:words], text.ids[:words]), start(image.latents[:places], image.ids[:places])

    def _step(
        self, prompt: str, key: Key, settings: Settings, first: tuple[TextTrace, ImageTrace],
        states: tuple[LatentState, LatentState], score: float,
    ) -> tuple[tuple[LatentState, LatentState], TextTrace, ImageTrace]:  # fmt: skip
        """Text moves and is written anew; then the image moves and is drawn anew."""
        model, reward = self.model, settings.reward(score)

        def spoken(latents: Tensor) -> Tensor:
            return model.text_logits(first[0], latents)

        def seen(latents: Tensor) -> Tensor:
            return model.image_logits(first[1], latents, _guidance(model, settings))

        words, places = states
        before = spoken(words.latents)
        words, _ = update(words, spoken, reward, learning_rate=settings.learning_rate, l2=settings.l2)
        prefix, _ = greedy_prefix(spoken(words.latents), model.end_of_text, before=before, executed=words.tokens)
        words, _ = execute(words, prefix)
        text = self.write(prompt, prefix)
        places, _ = update(places, seen, reward, learning_rate=settings.learning_rate, l2=settings.l2,
                           temperature=settings.temperature)  # fmt: skip
        prefix, _ = sampled_prefix(seen(places.latents), key, settings.temperature)
        places, _ = execute(places, prefix)
        image = self.draw(drawing(prompt, text.text), key, settings, prefix)
        return (words, places), text, image

    @torch.no_grad()
    def _read(self, streams: list[list[int]]) -> Tensor:
        """Hidden states of text ids, without a cache. (G, L, d)"""
        hidden: Tensor = self.model.network.model.language_model(
            input_ids=self._tensor(streams), use_cache=False
        ).last_hidden_state
        return hidden

    def _forward(self, inputs: Tensor, cache: DynamicCache) -> Tensor:
        """Hidden states of two streams' new inputs, over what the cache has read. (2, L, d)"""
        hidden: Tensor = self.model.network.model.language_model(
            inputs_embeds=inputs, past_key_values=cache, use_cache=True
        ).last_hidden_state
        return hidden

    def _seen(self, ids: Sequence[int]) -> Tensor:
        """Image tokens as both streams read them. (2, n, d)"""
        embedded: Tensor = self.model.network.prepare_embeddings_for_image_generation(self._tensor(list(ids)))
        return embedded.expand(2, -1, -1)

    def _encode(self, text: str) -> list[int]:
        return [self.model.ids.begin, *self.model.encode_text(text)]

    def _tensor(self, ids: list) -> Tensor:
        return torch.tensor(ids, device=self.model.network.device)

    def _spent(self, kind: str, began: float) -> float:
        spent = time.perf_counter() - began
        self.seconds[kind] += spent
        return spent


def _guidance(model: JanusModel, settings: Settings) -> float:
    return model.guidance_scale if settings.guidance_scale is None else settings.guidance_scale
