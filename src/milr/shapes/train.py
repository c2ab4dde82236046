"""Trains nano: `python -m milr.shapes.train --out FOLDER`. Seeded; on CPU or GPU; resumes from the folder's weights.

Two parts, `vq` (the tokenizer) and `language` (thinking, drawing, looking), which may run at the same time in folders
of their own: image tokens are looked up, not encoded, so neither needs the other. `join` puts both into one model.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import JanusForConditionalGeneration

from milr.shapes.examples import Examples
from milr.shapes.lm_training import Batch, train_language
from milr.shapes.network import make_network, make_tokenizer, save_network
from milr.shapes.vq_training import make_vq, train_vq

app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)
VQ, LANGUAGE = "vq.safetensors", "language.safetensors"
Out = Annotated[Path, typer.Option(help="Folder of the parts, and of the joined model.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]


def _save(weights: dict[str, Tensor], path: Path) -> None:
    """Under a temporary name, then renamed: a kill leaves the last milestone whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def _reporter() -> Callable[[str], None]:
    began = time.monotonic()
    return lambda line: typer.echo(f"{time.monotonic() - began:7.0f} s  {line}")


@app.command()
def vq(out: Out, steps: int = 2200, batch: int = 16, rate: float = 2e-3, seed: int = 0, device: Device = "cpu",
       threads: int = 1) -> None:  # fmt: skip
    """Train the VQ tokenizer, from the weights in the folder if there are any."""
    torch.set_num_threads(threads)
    model = make_vq(seed)
    if (out / VQ).exists():
        model.load_state_dict(load_file(out / VQ))
    train_vq(model, steps=steps, batch=batch, seed=seed, rate=rate, device=device, report=_reporter(),
             save=lambda: _save(model.state_dict(), out / VQ))  # fmt: skip


@app.command()
def language(out: Out, steps: int = 2600, first: int = 0, rate: float = 2e-3, seed: int = 0, device: Device = "cpu",
             times: Annotated[int, typer.Option(help="Batch size, in multiples of 80 examples.")] = 1,
             threads: int = 1) -> None:  # fmt: skip
    """Train thinking, drawing and looking from step FIRST of STEPS, on the weights in the folder if there are any."""
    torch.set_num_threads(threads)
    tokenizer = make_tokenizer()
    network = make_network(tokenizer, seed).to(device)
    if (out / LANGUAGE).exists():
        network.load_state_dict(load_file(out / LANGUAGE), strict=False)
    train_language(network, Examples(tokenizer, seed + first), steps=steps, batch=Batch().times(times), rate=rate,
                   report=_reporter(), save=lambda weights: _save(weights, out / LANGUAGE), first=first)  # fmt: skip


@app.command()
def join(out: Out, folder: Annotated[Path, typer.Option(help="Where the model goes.")]) -> None:
    """Put both parts into one model that `from_pretrained` loads."""
    tokenizer = make_tokenizer()
    save_network(joined(out), tokenizer, folder)
    typer.echo(f"wrote {folder}")


def joined(out: Path) -> JanusForConditionalGeneration:
    """The network with both parts' weights; every tensor comes from one of them."""
    network = make_network(make_tokenizer(), 0)
    weights = load_file(out / LANGUAGE)
    weights |= {f"model.vqmodel.{name}": tensor for name, tensor in load_file(out / VQ).items()}
    network.load_state_dict(weights)
    return network.eval()


if __name__ == "__main__":
    app()
