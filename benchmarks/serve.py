"""How fast `milr serve` is beside the command line, for 1, 8 and 32 clients: pictures a second of the same searches.

    python benchmarks/serve.py --seconds 20

The command line runs first with as many searches in flight as there are clients later; both begin when the model's
processes are ready, and both write run folders. nano, `redraw_sampled`, 2 pictures a search.
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from milr.options import Options
from milr.runs.events import Event, Listeners, StepFinished
from milr.workflows.prepare import prepare
from milr.workflows.running import run_into, studio_for

ROOT = Path(__file__).parents[1]
PROMPTS = [f"a {colour} {shape}" for colour in ("red", "blue", "green", "black", "white")
           for shape in ("star", "circle", "heart", "moon")]  # fmt: skip
SEARCH = {"method": "redraw_sampled", "pictures": 2, "stop": False}


def command_line(in_flight: int, seconds: float, out: Path) -> float:
    """Pictures a second of `milr generate --prompts --samples` with this many searches in flight."""
    options = Options(samples=100, in_flight=in_flight, **SEARCH)  # type: ignore[arg-type]
    prepared = prepare(PROMPTS, options)
    count, start = 0, 0.0

    async def go() -> float:
        task = asyncio.current_task()
        assert task is not None

        def listen(event: Event) -> None:
            nonlocal count, start
            if isinstance(event, StepFinished):
                start = start or time.monotonic()  # the first picture is not counted
                count += 1
                if time.monotonic() - start > seconds:
                    task.cancel()

        async with studio_for(prepared) as studio:
            if callable(wait := getattr(studio.model, "wait_until_ready", None)):
                await asyncio.to_thread(wait)
            with suppress(asyncio.CancelledError):
                await run_into(out, prepared, studio, Listeners(listen))
            return (count - 1) / (time.monotonic() - start)

    return asyncio.run(go())


def server(clients: int, seconds: float, out: Path) -> float:
    """Pictures a second of `milr serve` with this many clients, each of which asks again when it is answered."""
    command = [sys.executable, "-m", "milr.cli", "serve", "--port", "0", "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "src")}) as process:  # fmt: skip
        assert process.stdout is not None
        address = urlsplit(process.stdout.readline().split()[2]).netloc
        _client(address, 0, 30)  # warm: the processes have started
        start = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(clients) as pool:
            counts = pool.map(lambda number: _client(address, number, seconds), range(clients))
        speed = sum(counts) / (time.monotonic() - start)
        process.terminate()
    return speed


def _client(address: str, number: int, seconds: float) -> int:
    connection, count, end = http.client.HTTPConnection(address, timeout=300), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        prompt, seed = PROMPTS[(number + count) % len(PROMPTS)], number * 10_000 + count
        body = json.dumps({"prompt": prompt, "milr": {**SEARCH, "seed": seed}})
        connection.request("POST", "/v1/images/generations", body, {"content-type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        count += answer["data"][0]["milr"]["pictures"]
    return count


def main() -> None:
    """Print a line for each number of clients."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    chosen = parser.parse_args()
    for clients in chosen.clients:
        with tempfile.TemporaryDirectory() as folder:
            alone = command_line(clients, chosen.seconds, Path(folder) / "alone")
            served = server(clients, chosen.seconds, Path(folder) / "served")
        line = f"{clients} clients: served {served:.1f} pictures/s, command line {alone:.1f}"
        print(f"{line}, ratio {served / alone:.2f}", flush=True)


if __name__ == "__main__":
    main()
