"""Trains nano's transformer: prompt to visualisation, prompt to image tokens, and answers about pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import JanusForConditionalGeneration

from milr.shapes.training.examples import Example, Examples, image_weights, pad, pictures, tokens
from milr.shapes.training.loop import IGNORED, Report, set_rate, to_pixels
from milr.shapes.training.patches import TOKENS
from milr.shapes.training.vision_tower import add_pixel_noise

ROUND = 500  # steps; a new round starts from the last one's weights alone, so training can be resumed between rounds
WARM_UP = 30  # steps at the start of each round
COOL_DOWN = 0.25  # of all steps: the last part, in which the rate falls to zero
WEIGHT_DECAY = 0.02


@dataclass(frozen=True)
class Batch:
    """How many examples of each task make one training step."""

    reason: int = 6
    planned: int = 26
    bare: int = 32
    answer: int = 12

    def times(self, factor: int) -> Batch:
        """The same mixture, `factor` times as large."""
        return Batch(*(factor * getattr(self, name) for name in self.__dataclass_fields__))


VERDICTS = Batch(reason=4, planned=14, bare=14, answer=24)  # of the last part, which is mostly about answers
VERDICT_WEIGHT = 10.0  # of a yes or no in the last part: they are few tokens among many


@dataclass(frozen=True)
class Schedule:
    """How the transformer is trained: `steps` in all, of one `batch` each, at learning rate `rate`.

    The rate falls over the last `cool_down` (a share) of the steps. `verdict_weight` is the loss weight of yes and no.
    """

    steps: int
    rate: float
    batch: Batch = Batch()
    cool_down: float = COOL_DOWN
    verdict_weight: float = 1.0


def _hidden(network: JanusForConditionalGeneration, embeds: Tensor) -> Tensor:
    """Hidden states (B, L, d) of right-padded rows: under the causal mask the padding has no influence."""
    hidden: Tensor = network.model.language_model(inputs_embeds=embeds, use_cache=False).last_hidden_state
    return hidden


def text_loss(network: JanusForConditionalGeneration, examples: list[Example], features: Tensor | None,
              *, weights: Tensor | None = None) -> Tensor:  # fmt: skip
    """Mean cross-entropy of the target tokens; `features` (B, 64, d) replace the image placeholders.

    `weights` (V,) weigh the target tokens; None: all alike.
    """
    turns = [((example.ids, example.target), *example.turns) for example in examples]
    rows = [[token for ids, target in pairs for token in (*ids, *target)] for pairs in turns]
    row_labels = [[token for ids, target in pairs for token in (*[IGNORED] * len(ids), *target)] for pairs in turns]
    ids, labels = pad(rows, 0).to(network.device), pad(row_labels, IGNORED).to(network.device)
    embeds = network.get_input_embeddings()(ids)
    if features is not None:
        placeholders = (ids == network.config.image_token_id).unsqueeze(-1)
        embeds = embeds.masked_scatter(placeholders, features.to(embeds.dtype))
    hidden = _hidden(network, embeds)[:, :-1]
    labelled = labels[:, 1:] != IGNORED
    return F.cross_entropy(network.lm_head(hidden[labelled]).float(), labels[:, 1:][labelled], weight=weights)


def image_loss(network: JanusForConditionalGeneration, examples: list[Example], labels: Tensor) -> Tensor:
    """Weighted mean cross-entropy of the image tokens `labels` (B, 64)."""
    lengths = [len(example.ids) for example in examples]
    texts = network.get_input_embeddings()(pad([example.ids for example in examples], 0).to(network.device))
    images = network.prepare_embeddings_for_image_generation(labels)
    rows = [torch.cat([text[:n], image[:-1]]) for text, image, n in zip(texts, images, lengths, strict=True)]
    width = -(-max(len(row) for row in rows) // 16) * 16
    hidden = _hidden(network, torch.stack([F.pad(row, (0, 0, 0, width - len(row))) for row in rows]))
    positions = torch.tensor(lengths, device=hidden.device)[:, None] - 1 + torch.arange(TOKENS, device=hidden.device)
    predicting = hidden.gather(1, positions[..., None].expand(-1, -1, hidden.shape[-1]))
    logits = network.model.generation_head(predicting).float()
    losses = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    weights = image_weights(examples).to(losses.device)
    return (losses * weights).sum() / weights.sum()


def picture_features(network: JanusForConditionalGeneration, pixels: Tensor) -> Tensor:
    """Pictures (B, 3, 64, 64), with a little noise, to embeddings (B, 64, d) for the image placeholders."""
    features: Tensor = network.model.aligner(network.model.vision_model(add_pixel_noise(pixels)).last_hidden_state)
    return features


def verdict_weights(source: Examples, weight: float) -> Tensor:
    """(V,) loss weights of the words: `weight` for yes and no, 1 for the others."""
    weights = torch.ones(len(source.tokenizer))
    weights[source.tokenizer.convert_tokens_to_ids(["yes", "no"])] = weight
    return weights


def losses(network: JanusForConditionalGeneration, source: Examples, batch: Batch,
           *, verdict_weight: float = 1.0) -> dict[str, Tensor]:  # fmt: skip
    """One step's loss for each task."""
    by_task: dict[str, Tensor] = {"reason": text_loss(network, [source.reason() for _ in range(batch.reason)], None)}
    for name, planned in (("planned", True), ("bare", False)):
        examples = [source.draw(planned) for _ in range(getattr(batch, name))]
        by_task[name] = image_loss(network, examples, tokens(examples).to(network.device))
    examples = [source.answer() for _ in range(batch.answer)]
    features = picture_features(network, to_pixels(pictures(examples)).to(network.device))
    weights = verdict_weights(source, verdict_weight).to(network.device)
    by_task["answer"] = text_loss(network, examples, features, weights=weights)
    return by_task


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
    matrix_ids = {id(tensor) for tensor in matrices}
    rest = [tensor for _, tensor in named if id(tensor) not in matrix_ids]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY),
    ]


def rate_at(step: int, schedule: Schedule) -> float:
    """Constant, with a warm-up at the start of every round (its optimisers are new) and a linear fall at the end."""
    warm_up = min(1.0, (step % ROUND + 1) / WARM_UP)
    falling = (schedule.steps - step) / max(1, schedule.cool_down * schedule.steps)
    return schedule.rate * warm_up * min(1.0, max(falling, 0.01))


def train_round(network: JanusForConditionalGeneration, source: Examples, schedule: Schedule, *, first: int,
                report: Report) -> None:  # fmt: skip
    """Train in place from step `first` to the end of its round; weights are all that a round hands to the next."""
    optimisers = make_optimisers(network, schedule.rate)
    trained = [tensor for tensor in network.parameters() if tensor.requires_grad]
    means: dict[str, float] = {}
    for step in range(first, min(schedule.steps, first + ROUND)):
        for optimiser in optimisers:
            set_rate(optimiser, rate_at(step, schedule))
        with torch.autocast(network.device.type, torch.bfloat16):
            by_task = losses(network, source, schedule.batch, verdict_weight=schedule.verdict_weight)
        network.zero_grad(set_to_none=True)
        torch.stack(list(by_task.values())).sum().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        for optimiser in optimisers:
            optimiser.step()
        means = {name: means.get(name, loss.item()) * 0.97 + loss.item() * 0.03 for name, loss in by_task.items()}
        if step % 50 == 49 or step == schedule.steps - 1:
            text = " ".join(f"{name} {mean:.4f}" for name, mean in means.items())
            report(f"language {step + 1}/{schedule.steps} {text}")
