"""How long a report, a comparison and a check of a run with many records take, and how much memory.

`python -m benchmarks.many_records [FOLDER] [RECORDS]` makes a run of made-up outcomes and prints a line for each.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from milr.runs.config import RunConfig, prompts_digest
from milr.runs.store import RunStore
from milr.types import Cost, ImageTrace, Key, Outcome, Prompt, Rollout, Score, Step, TextTrace

STEPS, TEXT, TOKENS, SIDE = 5, 45, 64, 64


def make_run(folder: Path, num_records: int) -> None:
    """A run of as many searches; nothing is synced to the disk."""
    prompts = [
        Prompt(f"a red star and {number} blue circles", str(number), "counting") for number in range(num_records)
    ]
    config = RunConfig(prompts_digest=prompts_digest(prompts), prompt_count=num_records, model="nano",
                       reward="detector", method="latent_reasoning")  # fmt: skip
    os.fsync = lambda handle: None
    with RunStore(folder).open(config, prompts) as store:
        for number, prompt in enumerate(prompts):
            steps = tuple(_step(number, index) for index in range(STEPS))
            store.write(Outcome(prompt, Key(0, prompt.text), steps, 1, 1, "steps", Cost(STEPS, STEPS * 110, STEPS)))


def _step(number: int, index: int) -> Step:
    ids = tuple((number * 31 + index * 7 + position) % 512 for position in range(TEXT + TOKENS))
    picture = Image.effect_noise((SIDE, SIDE), 40 + index).convert("RGB")
    text = TextTrace("a red star left , a blue circle right", ids[:TEXT])
    return Step(index, Rollout(text, ImageTrace(ids[TEXT:]), picture), Score(index / STEPS if index < 2 else 0.1))


def main(folder: Path, num_records: int) -> None:
    """Make the run where it is not there, and measure each command in a process of its own."""
    if not (folder / "run.json").exists():
        make_run(folder, num_records)
    for arguments in (["report", folder], ["compare", folder, "--out", folder / "compared"], ["doctor", folder]):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "milr.cli", *map(str, arguments)], check=True, capture_output=True)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"{arguments[0]:8} {time.perf_counter() - start:6.1f} s, {peak:.0f} MiB at most so far")
    print(f"page     {(folder / 'report.html').stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()), int((sys.argv[2:] or ["5000"])[0]))
