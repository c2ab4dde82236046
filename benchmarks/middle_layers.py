"""MILR's text latents before the last layer: `python -m benchmarks.middle_layers OUT --layer 3 --learning-rate 0.03`.

The model is nano, and only what a latent is changes: the state that layer `layer` reads at the positions that predict
the first text tokens, decoded by it and the layers above it (0: the inputs of the network). The method is
`latent_reasoning` as it stands, schedule `text`. Writes a run folder for `milr compare`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from milr.benchmarks.shapes import Shapes
from milr.catalog.models import worlds
from milr.models.janus import JanusModel
from milr.models.nano import GUIDANCE, NANO, SHIPPED_FILES, folder
from milr.options import Options
from milr.types import ReasonRequest, TextTrace
from milr.workflows.prepare import prepare
from milr.workflows.running import run


class LatentsOfLayer(JanusModel):
    """A Janus whose text latents are the states that layer `layer` reads; set it before use."""

    layer = 0

    def identity(self) -> Mapping[str, Any]:
        """As the model's, with the layer."""
        return {**super().identity(), "latent_layer": self.layer}

    def reason(self, requests: Sequence[ReasonRequest]) -> list[TextTrace]:
        """Each trace carries its prompt's ids, and the states of the layer where latents are asked for."""
        traces = super().reason(requests)
        return [self._with_states(request, trace) for request, trace in zip(requests, traces, strict=True)]

    def text_logits(self, trace: TextTrace, latents: Tensor) -> Tensor:
        """(n, d) states of the layer to (n, V) logits through the layers above it, differentiable."""
        if not isinstance(trace.context, tuple):  # the likelihoods that a judge asks for
            return super().text_logits(trace, latents)
        prompt_ids: tuple[int, ...] = trace.context
        ids = (*prompt_ids, *[prompt_ids[-1]] * (len(latents) - 1))  # whatever is read there, its state is replaced
        _, last = self._forward(ids, len(prompt_ids) - 1, latents)
        return self._logits_of_text(last)

    def _with_states(self, request: ReasonRequest, trace: TextTrace) -> TextTrace:
        if request.key.prompt == "" or trace.latents is not None and request.prefix:
            return trace  # a judge's question, or its likelihood of a description
        prompt_ids = tuple(self.prompts.reasoning(request.prompt))
        states = None
        if trace.latents is not None:
            with torch.no_grad():
                states, _ = self._forward((*prompt_ids, *trace.ids[:-1]), len(prompt_ids) - 1)
        return replace(trace, latents=states, context=prompt_ids)

    def _forward(self, ids: Sequence[int], start: int, states: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What the layer reads and the last latents, both from position `start`; `states` are put where they begin."""
        decoder, read = self.network.model.language_model, []

        def replace_states(_module: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            hidden, *others = inputs
            if states is not None:
                hidden = torch.cat([hidden[:, :start], states[None].to(hidden.dtype)], dim=1)
            read.append(hidden[0, start:])
            return (hidden, *others)

        hook = decoder.layers[self.layer].register_forward_pre_hook(replace_states)
        try:
            embeds = self.network.get_input_embeddings()(torch.tensor([list(ids)]))
            last = decoder(inputs_embeds=embeds, use_cache=False).last_hidden_state
        finally:
            hook.remove()
        return read[0], last[0, start:]


def load(layer: int) -> LatentsOfLayer:
    """nano, with the latents of this layer."""
    model = LatentsOfLayer.load(folder(), dtype="float32", device="cpu", templates=NANO, guidance_scale=GUIDANCE,
                                name="nano")  # fmt: skip
    assert isinstance(model, LatentsOfLayer)
    model.shipped_files, model.layer, model.world = SHIPPED_FILES, layer, worlds()["shapes"]
    return model


def main(
    out: Annotated[Path, typer.Argument(help="The run folder to write.")],
    layer: Annotated[int, typer.Option(help="The layer whose input is moved, from 0.")] = 3,
    learning_rate: Annotated[float, typer.Option(help="Size of an update of each coordinate.")] = 0.03,
    reward: Annotated[str, typer.Option(help="What the search is rewarded by.")] = "own",
    limit: Annotated[int, typer.Option(help="How many prompts of hard-development, every other one or so.")] = 60,
    seed: Annotated[int, typer.Option(help="The run's seed.")] = 0,
) -> None:
    """Search with 21 pictures and no stop, scored by the detector."""
    prompts = Shapes("hard-development").prompts()
    options = Options(method="latent_reasoning", schedule="text", learning_rate=learning_rate, reward=reward,
                      metric="detector", steps=20, stop=False, threads=1, in_flight=32, seed=seed)  # fmt: skip
    prepared = prepare(prompts[:: max(1, len(prompts) // limit)][:limit], options, model=load(layer))
    asyncio.run(run(prepared, out=out))


if __name__ == "__main__":
    typer.run(main)
