"""How fast `milr serve` is beside the engine alone, for 1, 8 and 32 clients: pictures a second of the same searches.

    python benchmarks/serve.py --seconds 10 --rounds 3

"Alone" is what `milr generate --prompts` does, without HTTP, with as many searches in flight as there are clients.
Both begin when the model's processes are ready, both write run folders, and both are counted by the pictures that are
judged between two moments while all clients are at work. They take turns, so that what else the machine does falls on
both; the ratio is that of the sums. nano, `redraw_sampled`, 2 pictures a search.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from milr.options import Options
from milr.runs.events import Event, Listeners, StepFinished
from milr.workflows.prepare import prepare
from milr.workflows.running import run_into
from milr.workflows.searcher import InProcess

ROOT = Path(__file__).parents[1]
PROMPTS = [f"a {colour} {shape}" for colour in ("red", "blue", "green", "black", "white")
           for shape in ("star", "circle", "heart", "moon")]  # fmt: skip
SEARCH = {"method": "redraw_sampled", "pictures": 2, "stop": False}
WARM = 3.0  # seconds before the first moment


def alone(in_flight: int, seconds: float, out: Path) -> float:
    """Pictures a second of the engine with this many searches in flight."""
    options = Options(samples=100, in_flight=in_flight, **SEARCH)  # type: ignore[arg-type]
    prepared = prepare(PROMPTS, options)
    count = 0

    def listen(event: Event) -> None:
        nonlocal count
        count += isinstance(event, StepFinished)

    async def go() -> float:
        async with prepared.open_studio() as studio:
            if callable(wait := getattr(studio.model, "wait_until_ready", None)):
                await asyncio.to_thread(wait)
            work = asyncio.create_task(run_into(out, prepared, InProcess(prepared, studio), Listeners(listen)))
            await asyncio.sleep(WARM)
            before, start = count, time.monotonic()
            await asyncio.sleep(seconds)
            speed = (count - before) / (time.monotonic() - start)
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
            return speed

    return asyncio.run(go())


@contextmanager
def server(out: Path) -> Iterator[str]:
    """The address of a `milr serve` whose processes have started."""
    command = [sys.executable, "-m", "milr.cli", "serve", "--port", "0", "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "src")}) as process:  # fmt: skip
        assert process.stdout is not None
        address = urlsplit(process.stdout.readline().split()[2]).netloc
        clients(address, 4, 10)
        try:
            yield address
        finally:
            process.terminate()


def clients(address: str, number: int, seconds: float) -> float:
    """Pictures a second of the server with this many clients, each of which asks again when it is answered."""
    end = threading.Event()
    threads = [threading.Thread(target=_client, args=(address, client, end)) for client in range(number)]
    for thread in threads:
        thread.start()
    time.sleep(WARM)
    before, start = _pictures(address), time.monotonic()
    time.sleep(seconds)
    speed = (_pictures(address) - before) / (time.monotonic() - start)
    end.set()
    for thread in threads:
        thread.join()
    return speed


def _client(address: str, client: int, end: threading.Event) -> None:
    connection, count = http.client.HTTPConnection(address, timeout=300), 0
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


def main() -> None:
    """Print a line for each round, and one for each number of clients."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, server(Path(folder) / "served") as address:
        for number in chosen.clients:
            speeds = []
            for turn in range(chosen.rounds):
                engine = alone(number, chosen.seconds, Path(folder) / f"{number}-{turn}")
                speeds.append((clients(address, number, chosen.seconds), engine))
                print(f"  served {speeds[-1][0]:.1f}, alone {engine:.1f}", flush=True)
            served, engine = (sum(each) / len(each) for each in zip(*speeds, strict=True))
            line = f"{number} clients: served {served:.1f} pictures/s, alone {engine:.1f}"
            print(f"{line}, ratio {served / engine:.2f}", flush=True)


if __name__ == "__main__":
    main()
