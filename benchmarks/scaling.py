"""How fast a run goes on 1 to 1,000 workers, and what stops it: a simulation with the searches of real records.

`python -m benchmarks.scaling RUN... [--out docs/scaling]` prints a table and writes scaling.json and scaling.png.

A search is the pictures that a record of the runs has, one after the other; so many searches are drawn from the
records. A worker loads its model, then keeps IN_FLIGHT searches going and takes the next one whenever one ends. A
picture of b searches in flight takes PICTURE * (1 + SHARE * (b - 1)) seconds. Where judges are behind an endpoint, each
picture is asked about there, at most RATE of them a second by all workers together, and the answer takes WAIT seconds.
A finished search is written by one process, which takes WRITE seconds (measured here where none are given). Left out:
the network, and workers that die.
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from milr.runs.sample_files import SampleFiles, encode_sample, write_sample
from milr.runs.store import RunStore
from milr.types import Cost, ImageTrace, Key, Outcome, Prompt, Rollout, Score, Step

WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
SHARE = 0.12  # what one more search in flight adds to a picture: nano's on two cores, docs/speed.md
WRITTEN = 50  # samples, to time their writing


@dataclass(frozen=True)
class Setting:
    """How a run is made; seconds and searches a second."""

    picture: float
    load: float
    in_flight: int
    write: float
    rate: float | None = None
    wait: float = 0.0
    shards: bool = False
    longest_first: bool = False


class Server:
    """One thing that all workers share: it takes `seconds` for each request, one after the other."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.free, self.busy = seconds, 0.0, 0.0

    def done(self, now: float) -> float:
        """When a request that arrives now is done."""
        self.free = max(now, self.free) + self.seconds
        self.busy += self.seconds
        return self.free


class Queue:
    """The searches, each by its number of pictures: one queue that all pull from, or a part for each worker."""

    def __init__(self, searches: Sequence[int], num_workers: int, setting: Setting) -> None:
        ordered = sorted(searches, reverse=True) if setting.longest_first else list(searches)
        count = num_workers if setting.shards else 1
        self._parts = [iter(ordered[part::count]) for part in range(count)]

    def take(self, worker: int) -> int:
        """The pictures of the next search for a worker; 0: there is none."""
        return next(self._parts[worker % len(self._parts)], 0)


@dataclass(frozen=True)
class Simulated:
    """Seconds from the first command to the last record, and the share of them that judge and writer were busy."""

    seconds: float
    judge: float
    writer: float


def simulate(searches: Sequence[int], num_workers: int, setting: Setting) -> Simulated:
    """One run of searches that make so many pictures each."""
    queue, writer = Queue(searches, num_workers, setting), Server(setting.write)
    judge = Server(1 / setting.rate if setting.rate else 0.0)
    active = [0] * num_workers
    events: list[tuple[float, int, int]] = []  # when, worker, pictures that its search still lacks

    def begin(now: float, worker: int) -> None:
        if pictures := queue.take(worker):
            active[worker] += 1
            heapq.heappush(events, (now, worker, pictures))

    for _ in range(setting.in_flight):
        for worker in range(num_workers):
            begin(setting.load, worker)
    end = 0.0
    while events:
        now, worker, left = heapq.heappop(events)
        if left:
            drawn = now + setting.picture * (1 + SHARE * (active[worker] - 1))
            heapq.heappush(events, (judge.done(drawn) + setting.wait, worker, left - 1))
        else:
            end = max(end, written := writer.done(now))
            active[worker] -= 1
            begin(written, worker)
    return Simulated(end, judge.busy / end, writer.busy / end)


def lengths(folders: Sequence[Path]) -> list[int]:
    """How many pictures each search of the runs made."""
    return [len(record.steps) for folder in folders for record in RunStore(folder).records(tokens=False)]


def seconds_to_write(pictures: int, side: int = 384) -> float:
    """Seconds (the median) to write the record of a search with so many pictures, synced, here."""
    noise = random.Random(0)
    picture = Image.frombytes("RGB", (side, side), noise.randbytes(side * side * 3)).resize((side // 4, side // 4))
    picture = picture.resize((side, side), Image.Resampling.BICUBIC)
    rollout = Rollout(None, ImageTrace(tuple(range(576))), picture)
    steps = tuple(Step(index, rollout, Score(0.5), cost=Cost(1)) for index in range(pictures))
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "records").mkdir()
        prompt = Prompt("a prompt")
        files = encode_sample(Outcome(prompt, Key(0, prompt.text), steps, 0, 0, "steps", Cost()), "")
        seconds = []
        for number in range(WRITTEN):
            start = time.perf_counter()
            write_sample(Path(name), SampleFiles(f"sample-{number}", files.record, files.pictures))
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds)


def scenarios(base: Setting, rate: float) -> dict[str, Setting]:
    """What is compared, by its name in table and figure."""
    slow = 0.5  # as on a file system far away
    return {
        "pull": base,
        "longest first": dataclasses.replace(base, longest_first=True),
        "shards": dataclasses.replace(base, shards=True),
        f"judge: {rate:g} a second": dataclasses.replace(base, rate=rate, wait=1.0),
        f"writing: {slow:g} s": dataclasses.replace(base, write=slow),
    }


def measure(searches: Sequence[int], settings: dict[str, Setting]) -> dict[str, list[float]]:
    """Pictures a second of every scenario for every number of workers."""
    total = sum(searches)
    return {name: [total / simulate(searches, workers, setting).seconds for workers in WORKERS]
            for name, setting in settings.items()}  # fmt: skip


def draw(speeds: dict[str, list[float]], alone: float, path: Path) -> None:
    """Pictures a second against workers, beside a straight line."""
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(WORKERS, [alone * workers for workers in WORKERS], color="0.7", linestyle=":", label="straight line")
    for marker, (name, values) in zip("osD^vx", speeds.items(), strict=False):
        axes.plot(WORKERS, values, marker=marker, markersize=4, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("workers")
    axes.set_ylabel("pictures a second")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def table(speeds: dict[str, list[float]]) -> Iterator[str]:
    """Markdown: pictures a second, and beside them how many workers' worth that is."""
    yield "| workers | " + " | ".join(speeds) + " |"
    yield "|---" * (len(speeds) + 1) + "|"
    for index, workers in enumerate(WORKERS):
        cells = (f"{values[index]:.3g} ({values[index] / values[0]:.3g})" for values in speeds.values())
        yield f"| {workers} | " + " | ".join(cells) + " |"


def main() -> None:
    """Simulate, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="run folders whose searches are simulated")
    parser.add_argument("--searches", type=int, default=2212, help="so many of them (GenEval with 4 samples)")
    parser.add_argument("--picture", type=float, default=10.0, help="seconds of a picture with one search in flight")
    parser.add_argument("--load", type=float, default=60.0, help="seconds until a worker has its model")
    parser.add_argument("--in-flight", type=int, default=4, help="searches at once in each worker")
    parser.add_argument("--write", type=float, help="seconds to write a search (default: measured here)")
    parser.add_argument("--rate", type=float, default=5.0, help="judgements a second of an endpoint")
    parser.add_argument("--out", type=Path, default=Path("docs/scaling"), help="name of the files, without ending")
    chosen = parser.parse_args()
    found = lengths(chosen.runs)
    searches = random.Random(0).choices(found, k=chosen.searches)
    measured = seconds_to_write(round(sum(found) / len(found)))
    write = measured if chosen.write is None else chosen.write
    settings = scenarios(Setting(chosen.picture, chosen.load, chosen.in_flight, write), chosen.rate)
    speeds = measure(searches, settings)
    print(f"{len(searches)} searches of {min(searches)} to {max(searches)} pictures, {sum(searches)} in all, as in "
          f"{len(found)} records; writing one takes {measured * 1000:.0f} ms here")  # fmt: skip
    print("\n".join(table(speeds)))
    values = {name: dataclasses.asdict(setting) for name, setting in settings.items()}
    content = {"searches": len(searches), "pictures": sum(searches), "records": len(found), "workers": WORKERS,
               "settings": values, "pictures_per_second": speeds}  # fmt: skip
    chosen.out.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")
    draw(speeds, speeds["pull"][0], chosen.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
