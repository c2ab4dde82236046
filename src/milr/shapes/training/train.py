"""Trains nano: `python -m milr.shapes.training.train everything --out PARTS`. Seeded; on CPU or GPU.

Five parts: `vq` (the VQ tokenizer), `eyes` (the vision tower), `language` (the transformer: visualisations, drawing,
answers; needs `eyes`), `verdicts` (mostly answers; continues `language`) and `held-out` (a judge that is not a part of
nano). A part that is in the folder is not made again, and `language` resumes after its last finished round. `join`
puts nano's parts into one model.
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
from milr.shapes.training.examples import Examples, Render
from milr.shapes.training.held_out import train_judge
from milr.shapes.training.language_model import ROUND, VERDICT_WEIGHT, VERDICTS, Batch, Schedule, train_round
from milr.shapes.training.loop import Training
from milr.shapes.training.network import make_network, make_tokenizer, save_network
from milr.shapes.training.own_drawings import OwnDrawing, own_drawings
from milr.shapes.training.vision_tower import train_vision_tower
from milr.shapes.training.vq import make_vq, train_vq
from milr.templates import NANO

app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)
VQ, EYES, LANGUAGE = "vq.safetensors", "eyes.safetensors", "language.safetensors"
VERDICT_ROUNDS = ("verdicts-1.safetensors", "verdicts-2.safetensors", "verdicts-3.safetensors")
FINAL = VERDICT_ROUNDS[-1]
JUDGE = "held_out.safetensors"
SEED_STRIDE = 1_000_003
Out = Annotated[Path, typer.Option(help="Folder of the parts, and of the joined model.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]


def _save(weights: dict[str, Tensor], path: Path, **metadata: int | float) -> None:
    """Write under a temporary name, then rename: a kill leaves the last file intact. `metadata` is its header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    save_file(tensors, path.with_suffix(".part"), {name: str(value) for name, value in metadata.items()})
    path.with_suffix(".part").replace(path)


def _reporter() -> Callable[[str], None]:
    """Prints lines with the seconds since now."""
    began = time.monotonic()
    return lambda line: typer.echo(f"{time.monotonic() - began:7.0f} s  {line}")


@app.command()
def vq(out: Out, *, steps: int = 2500, batch: int = 16, rate: float = 2e-3, seed: int = 0, device: Device = "cpu",
       threads: int = 1) -> None:  # fmt: skip
    """Train the VQ tokenizer from random weights."""
    torch.set_num_threads(threads)
    model = make_vq(seed)
    train_vq(model, Training(steps, batch, rate, seed, device), _reporter())
    _save(model.state_dict(), out / VQ)


@app.command()
def eyes(out: Out, *, steps: int = 1500, batch: int = 16, rate: float = 3e-3, seed: int = 0, device: Device = "cpu",
         threads: int = 1) -> None:  # fmt: skip
    """Train the vision tower from random weights."""
    torch.set_num_threads(threads)
    tower = make_network(make_tokenizer(), seed).model.vision_model
    train_vision_tower(tower, Training(steps, batch, rate, seed, device), _reporter())
    _save(tower.state_dict(), out / EYES)


@app.command()
def language(out: Out, *, steps: int = 2000, rate: float = 5e-3, seed: int = 0, device: Device = "cpu",
             times: Annotated[int, typer.Option(help="Batch size, in multiples of 76 examples.")] = 1,
             threads: int = 1) -> None:  # fmt: skip
    """Train the transformer, from the last finished round in the folder if there is one; needs the part `eyes`."""
    torch.set_num_threads(threads)
    tokenizer, path, report = make_tokenizer(), out / LANGUAGE, _reporter()
    network = make_network(tokenizer, seed).to(device)
    if device == "cpu":  # where the fused kernel's backward pass is slow in bfloat16
        network.model.language_model.set_attn_implementation("eager")
    network.model.vision_model.load_state_dict(load_file(out / EYES))
    settings = {"steps": steps, "rate": rate, "seed": seed, "times": times}
    finished = _resume(network, path, settings) if path.exists() else 0
    schedule = Schedule(steps, rate, Batch().times(times))
    for first in range(finished, steps, ROUND):
        round_seed = seed * SEED_STRIDE + first  # no two rounds share a seed, whatever the seeds of their trainings
        torch.manual_seed(round_seed)
        train_round(network, Examples(tokenizer, round_seed), schedule, first=first, report=report)
        _save(_without_vq(network), path, done=min(steps, first + ROUND), **settings)


@app.command()
def verdicts(out: Out, *, steps: tuple[int, int, int] = (400, 300, 400), drawings: int = 4000, rate: float = 3e-3,
             seed: int = 0, device: Device = "cpu", threads: int = 1) -> None:  # fmt: skip
    """Train mostly answers, in three rounds after `language`; in each the rate falls from the start.

    The rounds ask about drawn scenes, then scenes as nano's decoder renders them (needs the part `vq`), then nano's own
    drawings of training prompts.
    """
    torch.set_num_threads(threads)
    tokenizer, report = make_tokenizer(), _reporter()
    network = make_network(tokenizer, seed).to(device)
    if device == "cpu":
        network.model.language_model.set_attn_implementation("eager")
    _load_weights(network, out / LANGUAGE)
    network.model.vqmodel.load_state_dict(load_file(out / VQ))
    for number, (count, name) in enumerate(zip(steps, VERDICT_ROUNDS, strict=True)):
        if not (out / name).exists():
            round_seed = seed * SEED_STRIDE + SEED_STRIDE // 2 + number
            own = _own_drawings(network, drawings, round_seed, device) if number == 2 else ()
            source = Examples(tokenizer, round_seed, render=_renderer(network) if number else None, own_drawings=own)
            torch.manual_seed(round_seed)
            train_round(network, source, Schedule(count, rate, VERDICTS, 1.0, VERDICT_WEIGHT), first=0, report=report)
            _save(_without_vq(network), out / name, steps=count, rate=rate, seed=seed)
        _load_weights(network, out / name)


def _own_drawings(network: JanusForConditionalGeneration, count: int, seed: int, device: str) -> list[OwnDrawing]:
    """What nano draws at this point of its training."""
    with TemporaryDirectory() as folder:
        save_network(network, make_tokenizer(), Path(folder))
        model = JanusModel.load(folder, dtype="float32", device=device, templates=NANO)
    return own_drawings(model, count, seed)


def _renderer(network: JanusForConditionalGeneration) -> Render:
    """Image tokens to pictures by nano's own decoder."""

    @torch.no_grad()
    def render(ids: np.ndarray) -> np.ndarray:
        pixels = network.decode_image_tokens(torch.from_numpy(ids)[None].to(network.device))
        picture: np.ndarray = ((pixels[0].float() + 1) / 2 * 255).clamp(0, 255).to(torch.uint8).cpu().numpy()
        return picture

    return render


def _resume(network: JanusForConditionalGeneration, path: Path, settings: dict[str, int | float]) -> int:
    """Load the last round and return its finished steps; BadParameter if it was made with other settings."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    different = [f"{name} {metadata.get(name)}" for name, value in settings.items() if metadata.get(name) != str(value)]
    if different:
        raise typer.BadParameter(f"{path} was made with {', '.join(different)}; give the same, or another --out.")
    _load_weights(network, path)
    return int(metadata["done"])


def _load_weights(network: JanusForConditionalGeneration, path: Path) -> None:
    """Load all weights but those of the VQ tokenizer."""
    keys = network.load_state_dict(load_file(path), strict=False)
    assert all(name.startswith("model.vqmodel.") for name in keys.missing_keys) and not keys.unexpected_keys


def _without_vq(network: JanusForConditionalGeneration) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("model.vqmodel.")}


@app.command("held-out")
def held_out(out: Out, *, steps: int = 4000, batch: int = 32, rate: float = 3e-3, seed: int = 0,
             device: Device = "cpu", threads: int = 1) -> None:  # fmt: skip
    """Train the held-out judge from random weights."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    network = HeldOutJudge()
    train_judge(network, Training(steps, batch, rate, seed, device), _reporter())
    floats = {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    _save({name: tensor.half() for name, tensor in floats.items()}, out / JUDGE)


@app.command()
def everything(out: Out, *, seed: int = 0, device: Device = "cpu", threads: int = 1) -> None:
    """Make the released weights: all parts one after the other with their defaults, and the model in OUT/nano."""
    if not (out / VQ).exists():
        vq(out, seed=seed, device=device, threads=threads)
    if not (out / EYES).exists():
        eyes(out, seed=seed, device=device, threads=threads)
    language(out, seed=seed, device=device, threads=threads)
    if not (out / FINAL).exists():
        verdicts(out, seed=seed, device=device, threads=threads)
    if not (out / JUDGE).exists():
        held_out(out, seed=seed, device=device, threads=threads)
    join(out, out / "nano")


@app.command()
def join(out: Out, folder: Annotated[Path, typer.Option(help="Where the model goes.")]) -> None:
    """Put tokenizer, vision tower and transformer into one model that `from_pretrained` loads."""
    tokenizer = make_tokenizer()
    save_network(joined(out), tokenizer, folder)
    typer.echo(f"wrote {folder}")


def joined(out: Path) -> JanusForConditionalGeneration:
    """The network with the parts' weights; every tensor comes from one of them."""
    network = make_network(make_tokenizer(), 0)
    weights = load_file(out / FINAL)
    weights |= {f"model.vqmodel.{name}": tensor for name, tensor in load_file(out / VQ).items()}
    network.load_state_dict(weights)
    return network.eval()


if __name__ == "__main__":
    app()
