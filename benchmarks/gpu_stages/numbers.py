"""Stages 2, 8 and 11: how near to float32 the layers, heads, pixels and answers are, and what company changes."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from gpu_stages.finding import Card, Finding, compare, draw
from milr.models.decoding.llama import LlamaDecoder
from milr.models.float32_logits import float32_image_logits
from milr.models.janus import JanusModel

MOST_RATIO = 1.1  # of our distance to float32 over transformers'
LEAST_DECIBELS = 35.0  # of pixels in bfloat16
MOST_ANSWER = 0.05  # of P(yes)


@torch.no_grad()
def layers(card: Card) -> Iterator[Finding]:
    """Our layers and transformers', both in bfloat16, both against float32 with the same weights."""
    model = card.model("bfloat16")
    theirs, head = model.network.model.language_model, model.network.model.generation_head
    exact_layers, exact_head = copy.deepcopy(theirs).float(), copy.deepcopy(head).float()
    noise = torch.Generator(card.device).manual_seed(1)
    inputs = torch.empty(8, 64, theirs.config.hidden_size, device=card.device).normal_(generator=noise).bfloat16()
    exact = exact_layers(inputs_embeds=inputs.float()).last_hidden_state
    tokens = exact_head(exact).argmax(-1)
    found = {}
    for name, states in (("ours", _ours(model._engine.decoder, inputs)),
                         ("transformers", theirs(inputs_embeds=inputs).last_hidden_state)):  # fmt: skip
        flips = exact_head(states.float()).argmax(-1) != tokens
        found[name] = {"rms": float((states.float() - exact).square().mean().sqrt()),
                       "flips": float(flips.float().mean())}  # fmt: skip
    ratio = found["ours"]["rms"] / found["transformers"]["rms"]
    yield Finding("layers in bfloat16 are as near to float32 as transformers'", ratio < MOST_RATIO,
                  {"ratio": ratio, **found})  # fmt: skip
    ours = _ours(LlamaDecoder(exact_layers), inputs.float())
    worst = float((ours - exact).abs().max() / exact.abs().max())
    yield Finding("layers in float32 are transformers'", worst < 1e-3, {"largest_difference": worst})


def _ours(decoder: LlamaDecoder, inputs: Tensor) -> Tensor:
    count, length = inputs.shape[:2]
    positions = torch.arange(length, device=inputs.device).expand(count, -1)
    return decoder(inputs, positions, decoder.allocate_cache(count, length), 0, None)


def company(card: Card) -> Iterator[Finding]:
    """The same picture alone, in batches of 2, 8 and 32 and twice alike; and gone on with from its first half."""
    sizes, settings = ((2, 8, 32), {"max_new_tokens": 192}) if card.is_cuda else ((2, 8), {})
    for dtype in ("float32", "bfloat16"):
        if dtype == "float32" and card.size == "7b":
            continue
        model = card.model(dtype)
        alone = draw(model, [0], **settings)
        for size in sizes:
            model.free_memory()  # what is remembered is company, too
            together = draw(model, range(size), **settings)
            yield compare(f"a picture alone and among {size} in {dtype}", alone, together[:1])
            model.free_memory()
            again = [trace.ids for trace in draw(model, range(size), **settings)]
            yield Finding(f"{size} pictures twice alike in {dtype}", again == [trace.ids for trace in together])
        half = alone[0].ids[: len(alone[0].ids) // 2]
        yield compare(
            f"a picture gone on with from its half in {dtype}", alone, draw(model, [0], prefix=half, **settings)
        )
        del model


@torch.no_grad()
def answers(card: Card) -> Iterator[Finding]:
    """Logits, pixels and yes or no of a bfloat16 network against the same weights in float32."""
    model, exact = card.model("bfloat16"), card.model("bfloat16")
    exact.network.float()
    exact = JanusModel(exact._checkpoint, exact.network, exact.tokenizer, templates=exact.templates)
    yield _logits(model, exact)
    (trace,) = draw(model, [0])
    ids = torch.tensor([trace.ids], device=card.device)
    pixels, wanted = model.network.decode_image_tokens(ids).float(), exact.network.decode_image_tokens(ids)
    error = float((pixels - wanted).square().mean())
    decibels = 10 * math.log10(4.0 / error) if error else math.inf  # pixels are in -1..1
    yield Finding("pixels in bfloat16", decibels > LEAST_DECIBELS, {"decibels": decibels})
    yield from _layouts(card, model, ids)
    pictures = model.render([trace.ids])
    yes, right = (each.answer(pictures, [each.question("w1 w2")])[0].yes for each in (model, exact))
    if yes is None or right is None:
        yield Finding("P(yes): random weights came to no verdict", None)
    else:
        yield Finding("P(yes) in bfloat16", abs(yes - right) < MOST_ANSWER, {"bfloat16": yes, "float32": right})


def _logits(model: JanusModel, exact: JanusModel) -> Finding:
    """Image logits of the same latents: rounded to bfloat16, as they are used, and in float32."""
    width, device = model.network.config.text_config.hidden_size, model.network.device
    latents = torch.empty(256, width, device=device).normal_(generator=torch.Generator(device).manual_seed(2))
    latents = latents.bfloat16()
    heads = [each.network.model.generation_head for each in (model, exact)]
    wanted, rounded = heads[1](latents.float()), heads[0](latents).float()
    used = float32_image_logits(heads[0], latents)
    best = rounded.topk(2).values
    numbers = {"rms_rounded": float((rounded - wanted).square().mean().sqrt()),
               "rms_used": float((used - wanted).square().mean().sqrt()),
               "ties_rounded": float((best[:, 0] == best[:, 1]).float().mean()),
               "ties_used": float((used.topk(2).values.diff() == 0).float().mean())}  # fmt: skip
    return Finding("logits are no further from float32 than rounded ones",
                   numbers["rms_used"] <= 1.01 * numbers["rms_rounded"], numbers)  # fmt: skip


def _layouts(card: Card, model: JanusModel, ids: Tensor) -> Iterator[Finding]:
    """How long a picture's pixels take in the two layouts of a convolution's memory."""
    found = {}
    for name, layout in (("contiguous", torch.contiguous_format), ("channels_last", torch.channels_last)):
        model.network.model.vqmodel.to(memory_format=layout)
        repeats = 10 if card.is_cuda else 1
        found[f"{name}_ms"] = 1e3 * card.best_seconds(lambda: model.network.decode_image_tokens(ids), repeats)
    yield Finding("a picture's pixels by layout of memory", None, found)
