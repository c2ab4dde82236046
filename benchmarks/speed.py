"""How fast, against a plain loop and against the hardware: `python benchmarks/speed.py --size nano`.

One run, the same weights, seeds and token counts in every row:
* the plain loop (`plain_loop.py`), one prompt, timed on few steps and scaled;
* transformers' `generate`, for a text and for a picture;
* ours through the studio, MILR (joint, no stop, every picture scores 0), with 1, 4, 16, 64 prompts in flight.
Each part alone (text, picture, rendering), too. Beside them what the hardware can do, measured in the same run.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import speed_limits
import torch
import transformers
import typer
from speed_others import generate, plain, plain_milr
from speed_ours import Ours
from speed_rows import KINDS, Row, both, middle, told, typical
from speed_subject import SIZES, Subject, subject
from speed_table import figure, markdown

QUICK = 10.0  # seconds


def measure(
    measured: Subject,
    levels: list[int],
    *,
    plain_steps: int,
    rounds: int = 1,
    threads: int = 1,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Every row, with the limits: what the JSON file holds but for `settings` and `machine`."""
    network = measured.model.network
    plain_threads = _quicker(measured, threads)
    tell(f"the plain loop is quicker with {plain_threads} of {threads} threads")
    tell("limits, and transformers' generate")
    limits = _apart(lambda: speed_limits.measure(network.device, network.dtype), threads)
    _, reference = _apart(lambda: plain(measured, limits), plain_threads)
    rows = _apart(lambda: generate(measured, reference, limits), plain_threads)
    ours, plains = Ours(measured, limits, reference), list[Row]()
    pairs: dict[tuple[str, int], list[tuple[Row, Row]]] = {}
    for number in range(1, rounds + 1):
        tell(f"round {number} of {rounds}: the parts alone")
        alone, _ = _apart(lambda: plain(measured, limits), plain_threads)
        for row in (row for level in levels for row in ours.alone(level)):
            base = next(one for one in alone if one.kind == row.kind)
            pairs.setdefault((row.kind, row.in_flight), []).append((base, row))
        before, traces = _apart(lambda: plain_milr(measured, plain_steps), plain_threads)
        plains += [*alone, before]
        for level in levels:
            tell(f"round {number} of {rounds}: {level} in flight between two runs of the plain loop")
            row = ours.milr(level, traces)
            after, _ = _apart(lambda: plain_milr(measured, plain_steps), plain_threads)
            pairs.setdefault(("milr", level), []).append((both(before, after), row))
            plains.append(before := after)
    bases = [typical([row for row in plains if row.kind == kind]) for kind in KINDS]
    return {"limits": asdict(limits), "plain_threads": plain_threads,
            "rows": told([*bases, *rows, *map(middle, pairs.values())])}  # fmt: skip


def _quicker(measured: Subject, threads: int) -> int:
    """With how many threads the plain loop is quicker: one, or all. Short runs by turns, three where that is quick."""
    seconds: dict[int, float] = {}
    for _ in range(3):
        for count in (1, threads):
            row, _ = _apart(lambda: plain_milr(measured, 1), count)
            seconds[count] = min(seconds.get(count, math.inf), row.seconds)
        if sum(seconds.values()) > QUICK:
            break
    return min(seconds, key=lambda count: seconds[count])


def _apart(work: Callable[[], Any], threads: int) -> Any:
    """On a thread of its own, as ours have; it ends before ours begin."""
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(threads,)) as worker:
        return worker.submit(work).result()


def machine(device: torch.device, threads: int) -> dict[str, Any]:
    """Where it was measured."""
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else _processor(),
        "threads": threads,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _processor() -> str:
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main(
    size: Annotated[str, typer.Option(help=f"One of {', '.join(SIZES)}.")] = "nano",
    device: str = "auto",
    dtype: str = "auto",
    threads: Annotated[int, typer.Option(help="Of the CPU.")] = 1,
    in_flight: Annotated[str, typer.Option(help="Prompts in flight, with commas between.")] = "1,4,16,64",
    steps: Annotated[int, typer.Option(help="MILR steps of ours.")] = 4,
    plain_steps: Annotated[int, typer.Option(help="MILR steps of the plain loop.")] = 2,
    rounds: Annotated[int, typer.Option(help="An odd number: the median ratio counts.")] = 3,
    learning_rate: Annotated[float, typer.Option(help="The paper's; most texts change.")] = 0.03,
    text_tokens: Annotated[int | None, typer.Option(help="Most tokens of a text. Default: the size's.")] = None,
    seed: int = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything here.")] = None,
    figure_file: Annotated[Path | None, typer.Option("--figure", help="Draw here.")] = None,
) -> None:
    """Measure, and print the tables."""
    if rounds < 1 or rounds % 2 == 0:
        raise typer.BadParameter("an odd number of rounds has a median", param_hint="--rounds")
    if size not in SIZES:
        raise typer.BadParameter(f"{size} is none of {', '.join(SIZES)}", param_hint="--size")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)  # a main thread that has opened a parallel region slows all others down
    measured = subject(size, device=device, dtype=dtype, steps=steps, learning_rate=learning_rate,
                       text_tokens=text_tokens, seed=seed)  # fmt: skip
    measured.model.set_num_threads(threads)
    network = measured.model.network
    settings = {"size": size, "dtype": str(network.dtype).removeprefix("torch."), "text_tokens": measured.text_tokens,
                "image_tokens": measured.model.image_tokens, "steps": steps, "plain_steps": plain_steps,
                "rounds": rounds, "learning_rate": learning_rate, "seed": seed}  # fmt: skip
    result = {"settings": settings, "machine": machine(network.device, threads)}
    levels = [int(level) for level in in_flight.split(",")]
    result |= measure(measured, levels, plain_steps=plain_steps, rounds=rounds, threads=threads,
                      tell=lambda line: typer.echo(line, err=True))  # fmt: skip
    typer.echo(markdown(result))
    if json_file:
        json_file.write_text(json.dumps(result, indent=1) + "\n")
    if figure_file:
        figure(result, figure_file)


if __name__ == "__main__":
    typer.run(main)
