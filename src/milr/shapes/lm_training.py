"""Trains nano's transformer to think (prompt to visualisation), draw (to image tokens) and look (picture to words)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import JanusForConditionalGeneration

from milr.shapes.examples import IGNORED, Example, Examples, image_weights, pad, pictures, tokens
from milr.shapes.patches import TOKENS
from milr.shapes.vq_training import to_pixels

Report = Callable[[str], None]
EMA = 0.98  # a longer memory lags far behind weights that still learn fast


@dataclass(frozen=True)
class Batch:
    """How many examples of each task make one training step."""

    reason: int = 6
    planned: int = 44
    bare: int = 24
    look: int = 6

    def times(self, factor: int) -> Batch:
        """The same mixture, `factor` times as large."""
        return Batch(*(factor * getattr(self, name) for name in self.__dataclass_fields__))


def _hidden(network: JanusForConditionalGeneration, embeds: Tensor) -> Tensor:
    """Right-padded rows under a causal mask: what is padded comes last and disturbs nothing."""
    hidden: Tensor = network.model.language_model(inputs_embeds=embeds, use_cache=False).last_hidden_state
    return hidden


def text_loss(network: JanusForConditionalGeneration, examples: list[Example], features: Tensor | None) -> Tensor:
    """Mean cross-entropy of the target tokens; `features` (B, 64, d) replace the picture's placeholders."""
    rows = [example.ids + example.target for example in examples]
    ids = pad(rows, 0).to(network.device)
    goal = pad([(IGNORED,) * len(e.ids) + e.target for e in examples], IGNORED).to(network.device)
    embeds = network.get_input_embeddings()(ids)
    if features is not None:
        seen = (ids == network.config.image_token_id).unsqueeze(-1)
        embeds = embeds.masked_scatter(seen, features.to(embeds.dtype))
    hidden = _hidden(network, embeds)[:, :-1]
    learned = goal[:, 1:] != IGNORED
    return F.cross_entropy(network.lm_head(hidden[learned]).float(), goal[:, 1:][learned])


def image_loss(network: JanusForConditionalGeneration, examples: list[Example], goal: Tensor) -> Tensor:
    """Weighted mean cross-entropy of the image tokens `goal` (B, 64)."""
    lengths = [len(example.ids) for example in examples]
    texts = network.get_input_embeddings()(pad([example.ids for example in examples], 0).to(network.device))
    drawn = network.prepare_embeddings_for_image_generation(goal)
    rows = [torch.cat([text[:n], image[:-1]]) for text, image, n in zip(texts, drawn, lengths, strict=True)]
    width = -(-max(len(row) for row in rows) // 16) * 16
    hidden = _hidden(network, torch.stack([F.pad(row, (0, 0, 0, width - len(row))) for row in rows]))
    places = torch.tensor(lengths, device=hidden.device)[:, None] - 1 + torch.arange(TOKENS, device=hidden.device)
    chosen = hidden.gather(1, places[..., None].expand(-1, -1, hidden.shape[-1]))
    logits = network.model.generation_head(chosen).float()
    losses = F.cross_entropy(logits.transpose(1, 2), goal, reduction="none")
    weights = image_weights(examples).to(losses.device)
    return (losses * weights).sum() / weights.sum()


def picture_features(network: JanusForConditionalGeneration, pixels: Tensor) -> Tensor:
    """Pictures (B, 3, 64, 64) to (B, 64, d) embeddings for the placeholders; a little noise, as drawn ones have."""
    noisy = (pixels + 0.05 * torch.randn_like(pixels)).clamp(-1, 1)
    features: Tensor = network.model.aligner(network.model.vision_model(noisy).last_hidden_state)
    return features


def losses(network: JanusForConditionalGeneration, source: Examples, batch: Batch) -> dict[str, Tensor]:
    """One step's loss for each task."""
    found: dict[str, Tensor] = {"reason": text_loss(network, [source.reason() for _ in range(batch.reason)], None)}
    for name, planned in (("planned", True), ("bare", False)):
        examples = [source.draw(planned) for _ in range(getattr(batch, name))]
        found[name] = image_loss(network, examples, tokens(examples).to(network.device))
    examples = [source.look() for _ in range(batch.look)]
    features = picture_features(network, to_pixels(pictures(examples)).to(network.device))
    found["look"] = text_loss(network, examples, features)
    return found


class Average:
    """Exponential moving average of the trained weights: what is saved."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights = {name: tensor.detach().clone() for name, tensor in weights.items()}

    @torch.no_grad()
    def update(self, weights: dict[str, Tensor], step: int) -> None:
        """Move towards the current weights; the first steps move faster."""
        rate = max(1 - EMA, 1 / (step + 10))
        for name, tensor in weights.items():
            self.weights[name].lerp_(tensor, rate)


def train_language(network: JanusForConditionalGeneration, source: Examples, *, steps: int, batch: Batch, rate: float,
                   report: Report, save: Callable[[dict[str, Tensor]], None], first: int = 0) -> None:  # fmt: skip
    """Train in place from step `first` of the schedule; `save` receives the averaged weights every 50 steps."""
    device = network.device.type
    network.requires_grad_(True)
    network.model.vqmodel.requires_grad_(False)
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    optimiser = torch.optim.AdamW(trained.values(), lr=rate, betas=(0.9, 0.98), weight_decay=0.02)
    average = Average(trained)
    seen: dict[str, float] = {}
    for step in range(first, steps):
        warm = min(1, (step - first + 1) / 100)
        for group in optimiser.param_groups:
            group["lr"] = rate * warm * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        with torch.autocast(device, torch.bfloat16):
            found = losses(network, source, batch)
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(found.values())).sum().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
        optimiser.step()
        average.update(trained, step - first)
        seen = {name: seen.get(name, loss.item()) * 0.97 + loss.item() * 0.03 for name, loss in found.items()}
        if step % 50 == 0 or step == steps - 1:
            report(f"language {step}/{steps} " + " ".join(f"{name} {loss:.4f}" for name, loss in seen.items()))
        if step % 50 == 49:
            save(average.weights)
    save(average.weights)
    network.load_state_dict(average.weights, strict=False)
