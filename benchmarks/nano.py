"""What nano scores: `python benchmarks/nano.py --split test --seeds 3` prints the table of docs/nano.md as Markdown.

For each category: the VQ ceiling (pictures of right scenes, encoded and decoded), plain, text-enhanced (MILR's first
picture: both draw it with the same noise), and MILR under a preset, all judged by the detector, which also guides the
search: an oracle. Runs are kept under --out and resumed.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image

from milr.models.nano import folder
from milr.options import Options
from milr.report.statistics import Interval, interval_of_mean
from milr.report.summary import Summary, summarise
from milr.runs.events import Event, Listeners, SearchFinished
from milr.runs.store import Record, RunStore
from milr.shapes.drawing import draw_scene
from milr.shapes.grammar import CATEGORIES, parse
from milr.shapes.judge import judge
from milr.shapes.planning import sample_scene
from milr.shapes.splits import prompts as prompts_of_split
from milr.shapes.training.loop import to_pixels
from milr.shapes.training.vq import encode, nearest
from milr.types import Prompt
from milr.workflows.prepare import prepare
from milr.workflows.running import run

COLUMNS = (
    "category",
    "prompts",
    "VQ ceiling",
    "plain",
    "text-enhanced",
    "difference",
    "MILR",
    "pictures",
    "text changed",
)


@torch.no_grad()
def ceiling(prompts: list[Prompt], seeds: int, scenes_each: int = 2) -> dict[str, list[float]]:
    """Scores of right scenes after the VQ tokenizer, by prompt text; so many scenes for each prompt and seed."""
    from transformers import JanusForConditionalGeneration

    network = JanusForConditionalGeneration.from_pretrained(folder(), dtype=torch.float32)
    vq = network.model.vqmodel
    by_prompt: dict[str, list[float]] = {}
    rngs = [np.random.default_rng(seed) for seed in range(seeds)]
    for prompt in prompts:
        request = parse(prompt.text)
        assert request is not None
        scenes = np.stack([draw_scene(sample_scene(request, rng)) for rng in rngs for _ in range(scenes_each)])
        decoded = network.decode_image_tokens(nearest(vq, encode(vq, to_pixels(scenes))))
        pictures = ((decoded + 1) / 2 * 255).clamp(0, 255).to(torch.uint8).numpy()
        scores = [judge(Image.fromarray(picture), prompt.metadata).value for picture in pictures]
        by_prompt[prompt.text] = [score for score in scores if score is not None]
    return by_prompt


def _run(texts: list[str], options: Options, seeds: int, out: Path) -> tuple[Summary, list[Record]]:
    """All seeds of a method, each in a folder of its own, as one summary clustered by prompt."""
    records: list[Record] = []
    for seed in range(seeds):
        prepared = prepare(texts, replace(options, seed=seed))
        folder = out.with_name(f"{out.name}-{seed}")
        typer.echo(f"{options.method}: {len(texts)} prompts into {folder}", err=True)
        asyncio.run(run(prepared, out=folder, listeners=Listeners(_print_progress)))
        records += RunStore(folder).records()
    return summarise(records, threshold_of=lambda category: prepared.threshold), records


def _print_progress(event: Event) -> None:
    if isinstance(event, SearchFinished) and (event.done % 20 == 0 or event.done == event.total):
        typer.echo(f"  {event.done} of {event.total}", err=True)


def _mean_text(mean: float | None, interval: Interval | None) -> str:
    if mean is None:
        return "-"
    return f"{mean:.2f}" + (f" [{interval.low:.2f}, {interval.high:.2f}]" if interval else "")


def _difference(plain: list[Record], milr: list[Record], category: str) -> str:
    """Text-enhanced minus plain, paired by prompt and seed, bootstrapped by prompt."""
    bare = {(record.prompt.text, record.seed): record.first.score for record in plain}
    pairs = [(record.prompt.text, record.first.score - bare[record.prompt.text, record.seed]) for record in milr
             if category in ("all", record.prompt.category)]  # fmt: skip
    gains = [gain for _, gain in pairs]
    interval = interval_of_mean([text for text, _ in pairs], gains)
    bounds = f" [{interval.low:+.2f}, {interval.high:+.2f}]" if interval else ""
    return f"{np.mean(gains):+.2f}{bounds}"


def _row(name: str, prompts: list[Prompt], scores: dict[str, list[float]], plain: Summary, milr: Summary,
         difference: str) -> list[str]:  # fmt: skip
    groups = [prompt.text for prompt in prompts for _ in scores[prompt.text]]
    values = [value for prompt in prompts for value in scores[prompt.text]]
    changed = "-" if milr.text_changed is None else f"{milr.text_changed:.2f}"
    bare, first, returned = (
        _mean_text(part.mean, part.interval) for part in (plain.returned, milr.first, milr.returned)
    )
    return [name, str(len(prompts)), _mean_text(float(np.mean(values)), interval_of_mean(groups, values)), bare, first,
            difference, returned, f"{milr.pictures:.1f}", changed]  # fmt: skip


def main(
    split: str = "test",
    seeds: Annotated[int, typer.Option(help="How many seeds, from 0.")] = 3,
    preset: str = "paper-scaled",
    steps: int = 20,
    learning_rate: Annotated[float | None, typer.Option(help="None: the preset's.")] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="None: nano's own.")] = None,
    every: Annotated[int, typer.Option(help="Only every n-th prompt.")] = 1,
    out: Path = Path("runs/nano"),
) -> None:
    """Measure and print the table."""
    torch.set_num_threads(1)
    selected = prompts_of_split(split)[::every]
    texts = [prompt.text for prompt in selected]
    options = Options(
        reward="detector",
        preset=preset,
        steps=steps,
        learning_rate=learning_rate,
        guidance_scale=guidance_scale,
        in_flight=64,
    )
    name = f"{split}-{every}-{'own' if guidance_scale is None else guidance_scale}"
    plain, plain_records = _run(
        texts, replace(options, method="plain", learning_rate=None), seeds, out / f"{name}-plain"
    )
    rate = "preset" if learning_rate is None else learning_rate
    milr, milr_records = _run(texts, options, seeds, out / f"{name}-{preset}-{steps}-{rate}")
    scores = ceiling(selected, seeds)
    typer.echo("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for category in (*CATEGORIES, "all"):
        members = [prompt for prompt in selected if category in ("all", prompt.category)]
        if not members:
            continue
        parts = (summary if category == "all" else summary.categories[category] for summary in (plain, milr))
        difference = _difference(plain_records, milr_records, category)
        typer.echo("| " + " | ".join(_row(category, members, scores, *parts, difference)) + " |")
    cost = milr.cost
    typer.echo(f"\nMILR: {cost.pictures} pictures, {cost.token_steps} token-steps, {cost.model_seconds:.0f} s model, "
               f"{cost.reward_seconds:.0f} s reward; stops {dict(milr.stops)}; free {milr.free_tokens}")  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
