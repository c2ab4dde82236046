"""How fast `milr serve` is beside the engine alone, for 1, 8 and 32 clients: pictures a second of the same searches.

    python -m benchmarks.serve --seconds 3 --rounds 20

"Alone" is what `milr generate --prompts` does, without HTTP, with as many searches in flight as there are clients.
Both stay at work for the whole measurement and take short turns: one runs while the other's processes are stopped
(SIGSTOP; Linux), so that what else the machine does falls on both, and nothing is counted twice or lost where a turn
ends within a picture. Ratios are those of the sums, with the 95 % bootstrap interval over the rounds: of pictures a
second, and of pictures a CPU second of all processes of a side but the clients. nano, `redraw_sampled`, 2 pictures a
search; each request of the server is a run folder of its own, as always.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from benchmarks.speed_clock import cpu_seconds_of

from milr.options import Options
from milr.runs.events import Event, Listeners, StepFinished
from milr.workflows.prepare import prepare
from milr.workflows.running import run_into
from milr.workflows.searcher import InProcess

ROOT = Path(__file__).parents[1]
PROMPTS = [f"a {colour} {shape}" for colour in ("red", "blue", "green", "black", "white")
           for shape in ("star", "circle", "heart", "moon")]  # fmt: skip
SEARCH = {"method": "redraw_sampled", "pictures": 2, "stop": False}
SAMPLES = 500  # of each prompt: more than can be drawn
WARM = 8  # pictures of each side before the first turn counts, beside one for each client


@dataclass
class Side:
    """One of the two that take turns: the process whose tree it is, and how many pictures it has made."""

    pid: int
    pictures: Callable[[], float]
    turns: list[tuple[float, float, float]] = field(default_factory=list)  # pictures, seconds, CPU seconds

    def pause(self) -> None:
        """Stop all its processes."""
        for pid in _tree(self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        for pid in _tree(self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """It runs during the block, and what it did then is noted."""
        before, worked, start = self.pictures_so_far, cpu_seconds_of(_tree(self.pid)), time.monotonic()
        self.resume()
        yield
        self.pictures_so_far, seconds = self.pictures(), time.monotonic() - start
        self.pause()
        self.turns.append((self.pictures_so_far - before, seconds, cpu_seconds_of(_tree(self.pid)) - worked))

    pictures_so_far: float = 0.0


def _tree(pid: int) -> list[int]:
    """A process and all that it has started."""
    pids = [pid]
    for each in pids:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            with suppress(OSError):
                pids += map(int, children.read_text().split())
    return pids


@contextmanager
def alone(in_flight: int, out: Path) -> Iterator[Side]:
    """The engine at work with this many searches in flight, once its processes have started."""
    context = multiprocessing.get_context("spawn")
    count, ready = context.RawValue("i"), context.Event()
    process = context.Process(target=_search, args=(in_flight, out, count, ready))
    process.start()
    assert process.pid is not None
    side = Side(process.pid, lambda: float(count.value))
    try:
        ready.wait()
        yield side
    finally:
        side.resume()
        process.kill()
        process.join()


def _search(in_flight: int, out: Path, count: Any, ready: Any) -> None:
    prepared = prepare(PROMPTS, Options(samples=SAMPLES, in_flight=in_flight, **SEARCH))  # type: ignore[arg-type]

    def listen(event: Event) -> None:
        count.value += isinstance(event, StepFinished)

    async def go() -> None:
        async with prepared.open_studio() as studio:
            if callable(wait := getattr(studio.model, "wait_until_ready", None)):
                await asyncio.to_thread(wait)
            ready.set()
            await run_into(out, prepared, InProcess(prepared, studio), Listeners(listen))

    asyncio.run(go())


@contextmanager
def served(clients: int, out: Path) -> Iterator[Side]:
    """A `milr serve` at work for this many clients, each of which asks again when it is answered."""
    command = [sys.executable, "-m", "milr.cli", "serve", "--port", "0", "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "src")}) as process:  # fmt: skip
        assert process.stdout is not None
        address = urlsplit(process.stdout.readline().split()[2]).netloc
        end = threading.Event()
        threads = [threading.Thread(target=_client, args=(address, client, end)) for client in range(clients)]
        for thread in threads:
            thread.start()
        side = Side(process.pid, lambda: _pictures(address))
        try:
            yield side
        finally:
            side.resume()
            end.set()
            for thread in threads:
                thread.join()
            process.terminate()


def _client(address: str, client: int, end: threading.Event) -> None:
    connection, count = http.client.HTTPConnection(address, timeout=600), 0
    while not end.is_set():
        prompt, seed = PROMPTS[(client + count) % len(PROMPTS)], client * 10_000 + count
        body = json.dumps({"prompt": prompt, "milr": {**SEARCH, "seed": seed}})
        connection.request("POST", "/v1/images/generations", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        count += 1


def _pictures(address: str) -> float:
    """How many pictures the server has drawn and judged."""
    connection = http.client.HTTPConnection(address, timeout=300)
    connection.request("GET", "/metrics")
    found = re.search(r"^milr_pictures_total (\S+)$", connection.getresponse().read().decode(), re.MULTILINE)
    assert found
    return float(found[1])


def take_turns(sides: Sequence[Side], seconds: float, rounds: int, warm: int) -> None:
    """Let each warm up, then run one after the other, again and again."""
    for side in sides:
        side.pause()
    for side in sides:
        side.resume()
        while (made := side.pictures()) < warm:
            time.sleep(0.1)
        side.pause()
        side.pictures_so_far = made
    for _ in range(rounds):
        for side in sides:
            with side.turn():
                time.sleep(seconds)


def ratio(first: Side, second: Side, per: int) -> str:
    """How many more pictures the first makes for each second (`per` 1) or CPU second (2), with the 95 % interval."""
    turns = np.array([first.turns, second.turns])  # (2, rounds, 3)
    chosen = np.random.default_rng(0).integers(turns.shape[1], size=(2000, turns.shape[1]))
    sums = np.concatenate([turns.sum(1)[:, None], turns[:, chosen].sum(2)], 1)  # (2, 1 + 2000, 3)
    with np.errstate(divide="ignore", invalid="ignore"):
        speeds = sums[..., 0] / sums[..., per]
        ratios = speeds[0] / speeds[1]
    low, high = np.nanpercentile(ratios[1:], [2.5, 97.5])
    return f"{speeds[0, 0]:.2f} against {speeds[1, 0]:.2f}, ratio {ratios[0]:.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    """Print a line for each number of clients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3, help="of a turn")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    chosen = parser.parse_args()
    for number in chosen.clients:
        with (tempfile.TemporaryDirectory() as folder, served(number, Path(folder) / "served") as server,
              alone(number, Path(folder) / "alone") as engine):  # fmt: skip
            take_turns((server, engine), chosen.seconds, chosen.rounds, WARM + 2 * number)
        print(f"{number} clients: pictures a second {ratio(server, engine, 1)}; "
              f"a CPU second {ratio(server, engine, 2)}; load {os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
