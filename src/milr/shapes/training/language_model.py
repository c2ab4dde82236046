"""Trains nano's transformer to think (prompt to visualisation), draw (to image tokens) and look (picture to words)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import JanusForConditionalGeneration

from milr.shapes.training.examples import IGNORED, Example, Examples, image_weights, pad, pictures, tokens
from milr.shapes.training.patches import TOKENS
from milr.shapes.training.vq import to_pixels

Report = Callable[[str], None]
ROUND = 500  # steps after which everything but the weights starts afresh, so that a saved round can be gone on from
WARM = 30  # steps of warming up in each round
COOLING = 0.25  # of all steps: where the rate falls to nothing
DECAY = 0.02  # of the weights


@dataclass(frozen=True)
class Batch:
    """How many examples of each task make one training step."""

    reason: int = 6
    planned: int = 26
    bare: int = 32
    look: int = 12

    def times(self, factor: int) -> Batch:
        """The same mixture, `factor` times as large."""
        return Batch(*(factor * getattr(self, name) for name in self.__dataclass_fields__))


VERDICTS = Batch(reason=4, planned=14, bare=14, look=24)  # of the last part, which is mostly about looking
VERDICT_WEIGHT = 10.0  # of a yes or no there: few tokens among many, and the only ones that compare


def _hidden(network: JanusForConditionalGeneration, embeds: Tensor) -> Tensor:
    """Right-padded rows under a causal mask: what is padded comes last and disturbs nothing."""
    hidden: Tensor = network.model.language_model(inputs_embeds=embeds, use_cache=False).last_hidden_state
    return hidden


def text_loss(network: JanusForConditionalGeneration, examples: list[Example], features: Tensor | None,
              weights: Tensor | None = None) -> Tensor:  # fmt: skip
    """Mean cross-entropy of the target tokens; `features` (B, 64, d) replace the picture's placeholders.

    `weights` (V,) are the tokens' own; None: all alike.
    """
    turns = [((example.ids, example.target), *example.more) for example in examples]
    rows = [[token for given, target in row for token in (*given, *target)] for row in turns]
    goals = [[token for given, target in row for token in (*[IGNORED] * len(given), *target)] for row in turns]
    ids, goal = pad(rows, 0).to(network.device), pad(goals, IGNORED).to(network.device)
    embeds = network.get_input_embeddings()(ids)
    if features is not None:
        seen = (ids == network.config.image_token_id).unsqueeze(-1)
        embeds = embeds.masked_scatter(seen, features.to(embeds.dtype))
    hidden = _hidden(network, embeds)[:, :-1]
    learned = goal[:, 1:] != IGNORED
    return F.cross_entropy(network.lm_head(hidden[learned]).float(), goal[:, 1:][learned], weight=weights)


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


def verdict_weights(source: Examples, weight: float) -> Tensor:
    """(V,) loss weights of the words: `weight` for yes and no, 1 for the others."""
    weights = torch.ones(len(source.tokenizer))
    weights[source.tokenizer.convert_tokens_to_ids(["yes", "no"])] = weight
    return weights


def losses(network: JanusForConditionalGeneration, source: Examples, batch: Batch,
           verdict_weight: float = 1.0) -> dict[str, Tensor]:  # fmt: skip
    """One step's loss for each task."""
    found: dict[str, Tensor] = {"reason": text_loss(network, [source.reason() for _ in range(batch.reason)], None)}
    for name, planned in (("planned", True), ("bare", False)):
        examples = [source.draw(planned) for _ in range(getattr(batch, name))]
        found[name] = image_loss(network, examples, tokens(examples).to(network.device))
    examples = [source.look() for _ in range(batch.look)]
    features = picture_features(network, to_pixels(pictures(examples)).to(network.device))
    weights = verdict_weights(source, verdict_weight).to(network.device)
    found["look"] = text_loss(network, examples, features, weights)
    return found


def make_optimisers(network: JanusForConditionalGeneration, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the transformer's layers, AdamW for embeddings, heads, norms and the aligner.

    At the same rate and step Muon's planned drawing loss was half of AdamW's (docs/log.md). The VQ tokenizer and the
    vision tower were trained before and stay as they are.
    """
    network.requires_grad_(True)
    network.model.vqmodel.requires_grad_(False)
    network.model.vision_model.requires_grad_(False)
    named = [(name, tensor) for name, tensor in network.named_parameters() if tensor.requires_grad]
    matrices = [tensor for name, tensor in named if name.startswith("model.language_model.layers") and tensor.ndim == 2]
    taken = {id(tensor) for tensor in matrices}
    rest = [tensor for _, tensor in named if id(tensor) not in taken]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=DECAY),
    ]


def rate_at(step: int, steps: int, rate: float, cooling: float = COOLING) -> float:
    """Constant, warmed up at the start of every round (its optimisers are new), and falling linearly at the end."""
    warm = min(1.0, (step % ROUND + 1) / WARM)
    falling = (steps - step) / max(1, cooling * steps)
    return rate * warm * min(1.0, max(falling, 0.01))


def train_round(network: JanusForConditionalGeneration, source: Examples, *, first: int, steps: int, batch: Batch,
                rate: float, report: Report, cooling: float = COOLING,
                verdict_weight: float = 1.0) -> None:  # fmt: skip
    """Train in place from step `first` of `steps` to the end of its round: weights are all that a round leaves."""
    device = network.device.type
    optimisers = make_optimisers(network, rate)
    trained = [tensor for tensor in network.parameters() if tensor.requires_grad]
    seen: dict[str, float] = {}
    for step in range(first, min(steps, first + ROUND)):
        for group in (group for optimiser in optimisers for group in optimiser.param_groups):
            group["lr"] = rate_at(step, steps, rate, cooling)
        with torch.autocast(device, torch.bfloat16):
            found = losses(network, source, batch, verdict_weight)
        network.zero_grad(set_to_none=True)
        torch.stack(list(found.values())).sum().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        for optimiser in optimisers:
            optimiser.step()
        seen = {name: seen.get(name, loss.item()) * 0.97 + loss.item() * 0.03 for name, loss in found.items()}
        if step % 50 == 49 or step == steps - 1:
            report(f"language {step + 1}/{steps} " + " ".join(f"{name} {loss:.4f}" for name, loss in seen.items()))
