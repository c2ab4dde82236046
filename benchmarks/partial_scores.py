"""What a judge's score of a partial picture says about the finished one: `python -m benchmarks.partial_scores`.

nano draws pictures of the prompts of `hard-development`, each of a newly sampled visualisation, at temperature 1. Each
is cut after a share of its rows, filled (`milr.fills`), and judged. The table says how often, of two pictures of one
prompt of which the detector finds one right and one wrong when they are finished, the judge liked the partial right one
better (ties count half; 0.5 is chance), with a 95 % bootstrap by prompt. A draft costs the tokens that it draws.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import torch
import typer

from milr import catalog
from milr.benchmarks.shapes import Shapes
from milr.engine.studio import Studio
from milr.fills import Fill, fill_tokens, paint_undrawn
from milr.options import Options
from milr.report.statistics import clustered_bootstrap
from milr.shapes.judge import judge
from milr.templates import drawing
from milr.types import DrawRequest, ImageTrace, Key, Prompt, ReasonRequest

SHARES = (0.25, 0.5, 0.75, 1.0)
FILLS: tuple[Fill, ...] = ("repeat", "mean", "zeros", "draft")
Scores = dict[tuple[float, str, str], float]  # by share, fill and judge


async def scores_of(studio: Studio, judges: dict[str, object], prompt: Prompt, key: Key) -> tuple[bool, Scores]:
    """Whether the finished picture is right, and what the judges say of its beginnings."""
    async with studio.method():
        text = await studio.reason(ReasonRequest(prompt.text, key, temperature=1.0))
        request = DrawRequest(drawing(prompt.text, text.text), key, studio.model.guidance_scale)
        image = await studio.draw(request)
        scores: Scores = {}
        for share in SHARES:
            ids = image.ids[: int(len(image.ids) * share)]
            for fill in FILLS if share < 1 else FILLS[:1]:
                draft = await _draft(studio, request, ids) if fill == "draft" else ()
                whole = ImageTrace(fill_tokens(ids, len(image.ids), fill, draft))
                picture = paint_undrawn(await studio.render(whole), share, fill)
                for name, reward in judges.items():
                    score = await studio.score(picture, prompt, reward)  # type: ignore[arg-type]
                    if score.value is None:
                        raise typer.BadParameter(
                            f"{name} gave no score ({score.unscored}): it must judge by the picture alone."
                        )
                    scores[share, fill, name] = score.value
        return bool((judge(await studio.render(image), prompt.metadata).value or 0) > 0.5), scores


async def _draft(studio: Studio, request: DrawRequest, ids: Sequence[int]) -> tuple[int, ...]:
    return (await studio.draw(replace(request, prefix=tuple(ids), temperature=0.0))).ids


async def measure(names: Sequence[str], prompts: Sequence[Prompt], samples: int, in_flight: int
                  ) -> dict[str, list[tuple[bool, Scores]]]:  # fmt: skip
    """The scores of all pictures, by prompt."""
    model = catalog.make_model("nano")
    model.set_num_threads(1)  # type: ignore[attr-defined]
    judges = {name: catalog.make_reward(name, model, Options()) for name in names}
    studio, limit = Studio(model, judges[names[0]]), asyncio.Semaphore(in_flight)

    async def one(prompt: Prompt, sample: int) -> tuple[str, tuple[bool, Scores]]:
        async with limit:
            return prompt.text, await scores_of(studio, judges, prompt, Key(0, prompt.text, sample))  # type: ignore[arg-type]

    try:
        found = await asyncio.gather(*(one(prompt, sample) for prompt in prompts for sample in range(samples)))
    finally:
        studio.close()
    by_prompt = defaultdict(list)
    for prompt, result in found:
        by_prompt[prompt].append(result)
    return by_prompt


def row(by_prompt: dict[str, list[tuple[bool, Scores]]], what: tuple[float, str, str]) -> str:
    """How often the right one of two pictures is liked better."""
    groups, liked = [], []
    for prompt, pictures in by_prompt.items():
        for (first_right, first), (second_right, second) in itertools.combinations(pictures, 2):
            if first_right != second_right:
                right, wrong = (first, second) if first_right else (second, first)
                groups.append(prompt)
                liked.append((right[what] > wrong[what]) + 0.5 * (right[what] == wrong[what]))
    interval = clustered_bootstrap(groups, liked)
    bounds = f" [{interval.low:.3f}, {interval.high:.3f}]" if interval else ""
    share, fill, name = what
    mean = sum(liked) / len(liked)
    cells = [name, f"{share:.2f}", fill if share < 1 else "-", str(len(liked)), f"{mean:.3f}{bounds}"]
    return f"| {' | '.join(cells)} |"


def main(
    judges: Annotated[str, typer.Option(help="Rewards, with commas.")] = "self,seen,held-out",
    limit: Annotated[int, typer.Option(help="How many prompts.")] = 60,
    samples: Annotated[int, typer.Option(help="Pictures of each.")] = 4,
) -> None:
    """Draw, cut, fill, judge, and print the table."""
    torch.set_num_threads(1)
    names, prompts = judges.split(","), Shapes("hard-development").prompts()
    prompts = prompts[:: max(1, len(prompts) // limit)][:limit]
    by_prompt = asyncio.run(measure(names, prompts, samples, in_flight=32))
    print("| judge | share | fill | pairs | right one liked better |\n|---|---|---|---|---|")
    for name in names:
        for share in SHARES:
            for fill in FILLS if share < 1 else FILLS[:1]:
                print(row(by_prompt, (share, fill, name)))


if __name__ == "__main__":
    typer.run(main)
