"""Whether the memory of a long run stays flat once its caches are full.

`python -m benchmarks.flat_memory [SEARCHES]` makes searches of one update each on nano in one process with one thread,
each of another prompt, and prints the resident memory after every 50 of them. The limit of the cache is the option
`--cache-bytes`.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from benchmarks.many_records import write_prompts

from milr.options import Options
from milr.runs.events import Event, Listeners, SearchFinished
from milr.workflows.prepare import prepare
from milr.workflows.prompts import read_prompts
from milr.workflows.running import run_into

EVERY = 50
CACHE_BYTES = 2**26
FILLED = 500  # searches after which the caches are taken to be full
FLAT = 10.0  # MiB in a thousand searches


def resident() -> float:
    """The process's resident memory in MiB."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


class Samples:
    """The memory after every EVERY searches."""

    def __init__(self) -> None:
        self.searches: list[int] = []
        self.memory: list[float] = []
        self._start = time.perf_counter()

    def __call__(self, event: Event) -> None:
        """Print a line where it is time for one."""
        if isinstance(event, SearchFinished) and event.done % EVERY == 0:
            self.searches.append(event.done)
            self.memory.append(resident())
            seconds = time.perf_counter() - self._start
            print(f"{event.done:6} searches, {self.memory[-1]:7.0f} MiB, {seconds:5.0f} s", flush=True)

    def verdict(self) -> str:
        """The slope of a line through what came after FILLED searches, and what that means."""
        late = [(number, used) for number, used in zip(self.searches, self.memory, strict=True) if number >= FILLED]
        if len(late) < 3:
            return f"more than {FILLED} searches are needed to say whether memory is flat"
        slope = float(np.polyfit(*np.array(late).T, 1)[0]) * 1000
        span = max(used for _, used in late) - min(used for _, used in late)
        word = "flat" if slope < FLAT else "not flat"
        return f"{word}: {slope:+.1f} MiB in 1,000 searches after the first {FILLED}, all within {span:.1f} MiB"


async def run_all(folder: Path, num_searches: int) -> Samples:
    """The searches, into a run folder; none of their outcomes is kept in memory."""
    write_prompts(folder / "prompts.jsonl", num_searches)
    options = Options(reward="held-out", metric="detector", steps=1, stop=False, threads=1, cache_bytes=CACHE_BYTES)
    prepared, samples = prepare(read_prompts(folder / "prompts.jsonl"), options), Samples()
    async with prepared.open_searcher() as searcher:
        await run_into(folder / "run", prepared, searcher, Listeners(samples))
    return samples


def main(num_searches: int) -> None:
    """Make the searches in a folder that is deleted afterwards, and say whether memory was flat."""
    print(f"{num_searches} searches, {CACHE_BYTES / 2**20:.0f} MiB of keys and values at most")
    with tempfile.TemporaryDirectory() as folder:
        print(asyncio.run(run_all(Path(folder), num_searches)).verdict())


if __name__ == "__main__":
    main(int((sys.argv[1:] or ["1500"])[0]))
