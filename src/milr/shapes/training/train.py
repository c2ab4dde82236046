"""Trains nano: `python -m milr.shapes.training.train everything --out PARTS`. Seeded; on CPU or GPU.

Five parts: `vq` (the tokenizer), `eyes` (the vision tower), `language` (thinking, drawing, looking; needs the eyes),
`verdicts` (comparing; goes on from the language) and `held-out` (a judge that is no part of nano). A part that is in
the folder is not made again, and `language` goes on from its last whole round. `join` puts nano's parts into one model.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import torch
import typer
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import JanusForConditionalGeneration

from milr.models.janus import JanusModel
from milr.shapes.held_out import HeldOutJudge
from milr.shapes.training.examples import Examples, Show
from milr.shapes.training.eyes import train_eyes
from milr.shapes.training.held_out import train_judge
from milr.shapes.training.language_model import ROUND, VERDICT_WEIGHT, VERDICTS, Batch, train_round
from milr.shapes.training.network import make_network, make_tokenizer, save_network
from milr.shapes.training.own_drawings import OwnDrawing, own_drawings
from milr.shapes.training.vq import make_vq, train_vq
from milr.templates import NANO

app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)
VQ, EYES, LANGUAGE = "vq.safetensors", "eyes.safetensors", "language.safetensors"
VERDICT_ROUNDS = ("verdicts-1.safetensors", "verdicts-2.safetensors", "verdicts-3.safetensors")
WHOLE = VERDICT_ROUNDS[-1]
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
def verdicts(out: Out, steps: tuple[int, int, int] = (400, 300, 400), drawings: int = 4000, rate: float = 3e-3,
             seed: int = 0, device: Device = "cpu", threads: int = 1) -> None:  # fmt: skip
    """Teach comparing, mostly, in three rounds after the language part, in each of which the rate falls from its start.

    They look at the world's pictures, at such as nano's decoder renders them (needs the VQ tokenizer), and at nano's
    own drawings of training prompts.
    """
    torch.set_num_threads(threads)
    tokenizer, report = make_tokenizer(), _reporter()
    network = make_network(tokenizer, seed).to(device)
    if device == "cpu":
        network.model.language_model.set_attn_implementation("eager")
    _fill(network, out / LANGUAGE)
    network.model.vqmodel.load_state_dict(load_file(out / VQ))
    for number, (count, name) in enumerate(zip(steps, VERDICT_ROUNDS, strict=True)):
        if not (out / name).exists():
            own = seed * SEED_STRIDE + SEED_STRIDE // 2 + number
            source = Examples(tokenizer, own, _renderer(network) if number else None,
                              _own_drawings(network, drawings, own, device) if number == 2 else ())  # fmt: skip
            torch.manual_seed(own)
            train_round(network, source, first=0, steps=count, batch=VERDICTS, rate=rate, cooling=1.0,
                        verdict_weight=VERDICT_WEIGHT, report=report)  # fmt: skip
            _save(_without_vq(network), out / name, steps=count, rate=rate, seed=seed)
        _fill(network, out / name)


def _own_drawings(network: JanusForConditionalGeneration, count: int, seed: int, device: str) -> list[OwnDrawing]:
    """What nano draws at this point of its training."""
    with TemporaryDirectory() as folder:
        save_network(network, make_tokenizer(), Path(folder))
        model = JanusModel.load(folder, dtype="float32", device=device, templates=NANO)
    return own_drawings(model, count, seed)


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
