"""Trains nano: `python -m milr.shapes.train everything --out PARTS`. Seeded; on CPU or GPU.

Five parts: `vq` (the tokenizer), `eyes` (the vision tower), `language` (thinking, drawing, looking; needs the eyes),
`verdicts` (comparing; goes on from the language) and `held-out` (a judge that is no part of nano). A part that is in
the folder is not made again, and `language` goes on from its last whole round. `join` puts nano's parts into one model.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import JanusForConditionalGeneration

from milr.shapes.examples import Examples, Show
from milr.shapes.eye_training import train_eyes
from milr.shapes.held_out import HeldOutJudge
from milr.shapes.held_out_training import train_judge
from milr.shapes.lm_training import ROUND, VERDICT_WEIGHT, VERDICTS, Batch, train_round
from milr.shapes.network import make_network, make_tokenizer, save_network
from milr.shapes.vq_training import make_vq, train_vq

app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)
VQ, EYES, LANGUAGE = "vq.safetensors", "eyes.safetensors", "language.safetensors"
FIRST_VERDICTS, WHOLE = "first-verdicts.safetensors", "verdicts.safetensors"
JUDGE = "held_out.safetensors"
SEED_STRIDE = 1_000_003
Out = Annotated[Path, typer.Option(help="Folder of the parts, and of the joined model.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]


def _save(weights: dict[str, Tensor], path: Path, **about: int | float) -> None:
    """Under a temporary name, then renamed: a kill leaves the last milestone whole. `about` goes into its header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    save_file(held, path.with_suffix(".part"), {name: str(value) for name, value in about.items()})
    path.with_suffix(".part").replace(path)


def _reporter() -> Callable[[str], None]:
    began = time.monotonic()
    return lambda line: typer.echo(f"{time.monotonic() - began:7.0f} s  {line}")


@app.command()
def vq(out: Out, steps: int = 2500, batch: int = 16, rate: float = 2e-3, seed: int = 0, device: Device = "cpu",
       threads: int = 1) -> None:  # fmt: skip
    """Train the VQ tokenizer, from nothing."""
    torch.set_num_threads(threads)
    model = make_vq(seed)
    train_vq(model, steps=steps, batch=batch, seed=seed, rate=rate, device=device, report=_reporter())
    _save(model.state_dict(), out / VQ)


@app.command()
def eyes(out: Out, steps: int = 1500, batch: int = 16, rate: float = 3e-3, seed: int = 0, device: Device = "cpu",
         threads: int = 1) -> None:  # fmt: skip
    """Train the vision tower, from nothing."""
    torch.set_num_threads(threads)
    tower = make_network(make_tokenizer(), seed).model.vision_model
    train_eyes(tower, steps=steps, batch=batch, seed=seed, rate=rate, device=device, report=_reporter())
    _save(tower.state_dict(), out / EYES)


@app.command()
def language(out: Out, steps: int = 2000, rate: float = 5e-3, seed: int = 0, device: Device = "cpu",
             times: Annotated[int, typer.Option(help="Batch size, in multiples of 76 examples.")] = 1,
             threads: int = 1) -> None:  # fmt: skip
    """Train thinking, drawing and looking, from the last whole round in the folder if there is one; needs the eyes."""
    torch.set_num_threads(threads)
    tokenizer, path, report = make_tokenizer(), out / LANGUAGE, _reporter()
    network = make_network(tokenizer, seed).to(device)
    if device == "cpu":  # where the fused kernel's backward pass is slow in bfloat16
        network.model.language_model.set_attn_implementation("eager")
    network.model.vision_model.load_state_dict(load_file(out / EYES))
    recipe = {"steps": steps, "rate": rate, "seed": seed, "times": times}
    first = _resume(network, path, recipe) if path.exists() else 0
    for begin in range(first, steps, ROUND):
        own = seed * SEED_STRIDE + begin  # no round of one seed is that of another
        torch.manual_seed(own)
        source = Examples(tokenizer, own)
        train_round(network, source, first=begin, steps=steps, batch=Batch().times(times), rate=rate, report=report)
        _save(_without_vq(network), path, done=min(steps, begin + ROUND), **recipe)


@app.command()
def verdicts(out: Out, steps: int = 400, own_steps: int = 300, rate: float = 3e-3, seed: int = 0,
             device: Device = "cpu", threads: int = 1) -> None:  # fmt: skip
    """Teach comparing, mostly: two rounds after the language part, first on the world's pictures, then on nano's own.

    In each the rate falls from its start. Needs the VQ tokenizer, which renders nano's own.
    """
    torch.set_num_threads(threads)
    tokenizer = make_tokenizer()
    network = make_network(tokenizer, seed).to(device)
    if device == "cpu":
        network.model.language_model.set_attn_implementation("eager")
    first = out / FIRST_VERDICTS
    _fill(network, first if first.exists() else out / LANGUAGE)
    network.model.vqmodel.load_state_dict(load_file(out / VQ))
    rounds: list[tuple[int, Show | None, Path]] = [(steps, None, first), (own_steps, _renderer(network), out / WHOLE)]
    for number, (count, show, path) in enumerate(rounds):
        if path.exists():
            continue
        own = seed * SEED_STRIDE + SEED_STRIDE // 2 + number
        torch.manual_seed(own)
        train_round(network, Examples(tokenizer, own, show), first=0, steps=count, batch=VERDICTS, rate=rate,
                    cooling=1.0, verdict_weight=VERDICT_WEIGHT, report=_reporter())  # fmt: skip
        _save(_without_vq(network), path, steps=count, rate=rate, seed=seed)


def _renderer(network: JanusForConditionalGeneration) -> Show:
    """Image tokens to the picture that nano makes of them."""

    @torch.no_grad()
    def show(ids: np.ndarray) -> np.ndarray:
        drawn = network.decode_image_tokens(torch.from_numpy(ids)[None].to(network.device))
        picture: np.ndarray = ((drawn[0].float() + 1) / 2 * 255).clamp(0, 255).to(torch.uint8).cpu().numpy()
        return picture

    return show


def _resume(network: JanusForConditionalGeneration, path: Path, recipe: dict[str, int | float]) -> int:
    """Load the last round and tell its step; a folder of another recipe is refused, for it would be neither."""
    with safe_open(path, "pt") as file:
        about = file.metadata()
    other = [f"{name} {about.get(name)}" for name, value in recipe.items() if about.get(name) != str(value)]
    if other:
        raise typer.BadParameter(f"{path} was made with {', '.join(other)}; give the same, or another --out.")
    _fill(network, path)
    return int(about["done"])


def _fill(network: JanusForConditionalGeneration, path: Path) -> None:
    """Load everything but the VQ tokenizer."""
    unfilled = network.load_state_dict(load_file(path), strict=False)
    assert all(name.startswith("model.vqmodel.") for name in unfilled.missing_keys) and not unfilled.unexpected_keys


def _without_vq(network: JanusForConditionalGeneration) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("model.vqmodel.")}


@app.command("held-out")
def held_out(out: Out, steps: int = 4000, batch: int = 32, rate: float = 3e-3, seed: int = 0, device: Device = "cpu",
             threads: int = 1) -> None:  # fmt: skip
    """Train the held-out judge from nothing."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    network = HeldOutJudge()

    train_judge(network, steps=steps, batch=batch, seed=seed, rate=rate, device=device, report=_reporter())
    floats = {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    _save({name: tensor.half() for name, tensor in floats.items()}, out / JUDGE)


@app.command()
def everything(out: Out, seed: int = 0, device: Device = "cpu", threads: int = 1) -> None:
    """Make the released weights: all parts one after the other with their defaults, and the model in OUT/nano."""
    if not (out / VQ).exists():
        vq(out, seed=seed, device=device, threads=threads)
    if not (out / EYES).exists():
        eyes(out, seed=seed, device=device, threads=threads)
    language(out, seed=seed, device=device, threads=threads)
    if not (out / WHOLE).exists():
        verdicts(out, seed=seed, device=device, threads=threads)
    if not (out / JUDGE).exists():
        held_out(out, seed=seed, device=device, threads=threads)
    join(out, out / "nano")


@app.command()
def join(out: Out, folder: Annotated[Path, typer.Option(help="Where the model goes.")]) -> None:
    """Put tokenizer, eyes and transformer into one model that `from_pretrained` loads."""
    tokenizer = make_tokenizer()
    save_network(joined(out), tokenizer, folder)
    typer.echo(f"wrote {folder}")


def joined(out: Path) -> JanusForConditionalGeneration:
    """The network with the parts' weights; every tensor comes from one of them."""
    network = make_network(make_tokenizer(), 0)
    weights = load_file(out / WHOLE)
    weights |= {f"model.vqmodel.{name}": tensor for name, tensor in load_file(out / VQ).items()}
    network.load_state_dict(weights)
    return network.eval()


if __name__ == "__main__":
    app()
