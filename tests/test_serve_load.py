"""`milr serve` under load, and killed: many clients at once on loopback, SIGKILL, restart; OpenAI's own client."""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import http.client
import io
import json
import os
import signal
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

pytest.importorskip("starlette", reason="milr serve needs the extra: pip install 'milr[web]'")
openai = pytest.importorskip("openai", reason="the extra judge brings OpenAI's client")

import httpx2  # noqa: E402

import milr  # noqa: E402
from milr.web.server import CONNECTIONS  # noqa: E402
from served import serving  # noqa: E402

pytestmark = pytest.mark.long

CLIENTS = 50
OVERLOAD = 400  # clients of a server that has 64 at work and lets 256 wait
SECONDS = float(os.environ.get("MILR_LOAD_SECONDS", "60"))
MOST_GROWTH = 300e6  # bytes in the second half; caches fill up to their bounds, and a picture that stayed would be seen
PROMPTS = [f"a {colour} {shape}" for colour in ("red", "blue", "green", "black", "white")
           for shape in ("star", "circle", "heart", "moon")]  # fmt: skip
SEARCH: dict[str, Any] = {"method": "redraw_sampled", "pictures": 2}


def ask(address: str, prompt: str, seed: int) -> dict[str, Any]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=300)
    body = json.dumps({"prompt": prompt, "milr": {**SEARCH, "seed": seed}})
    connection.request("POST", "/v1/images/generations", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    content: dict[str, Any] = json.loads(answer.read())
    connection.close()
    assert answer.status == 200, content
    return content


def memory(pid: int) -> int:
    """Bytes of the process that are in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def test_fifty_clients_at_once_and_a_kill(tmp_path: Path) -> None:
    """Every answer is the picture that a single call gives, none is lost, and memory does not grow without end."""
    out, found = tmp_path / "runs", list[tuple[str, int, dict[str, Any]]]()
    with serving(out) as (process, address):
        end = time.monotonic() + SECONDS

        def client(number: int) -> None:
            seed = 0
            while time.monotonic() < end:
                prompt = PROMPTS[(number + seed) % len(PROMPTS)]
                found.append((prompt, seed, ask(address, prompt, seed)))
                seed += 1

        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as clients:
            futures = [clients.submit(client, number) for number in range(CLIENTS)]
            time.sleep(SECONDS / 2)
            half = memory(process.pid)
            for future in futures:
                future.result()
        assert memory(process.pid) < half + MOST_GROWTH
        assert len(found) >= CLIENTS and len({content["milr"]["run"] for *_, content in found}) == len(found)
        cut = ask_without_waiting(address)
        time.sleep(1.5)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        cut.close()
    sample = found[:: max(1, len(found) // 20)]
    with milr.load("nano", **SEARCH) as session:
        for prompt, seed, content in sample:
            outcome = session.generate(prompt, seed=seed)
            picture = Image.open(io.BytesIO(base64.b64decode(content["data"][0]["b64_json"])))
            assert picture.tobytes() == outcome.picture.convert("RGB").tobytes(), (prompt, seed)
    with serving(out) as (_, address):
        runs, before = list[dict[str, Any]](), ""
        while before is not None:
            page = get(address, f"/api/runs?before={before}")
            runs, before = runs + page["runs"], page["next"]
    finished = {run["run"] for run in runs if run["state"] == "finished"}
    assert {content["milr"]["run"] for *_, content in found} <= finished
    assert [run["state"] for run in runs].count("interrupted") == 1


def ask_without_waiting(address: str) -> http.client.HTTPConnection:
    """Begin a search that takes long, and leave it at work."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    body = json.dumps({"prompt": "two red stars", "milr": {**SEARCH, "pictures": 64, "stop": False}})
    connection.request("POST", "/v1/images/generations", body, {"content-type": "application/json"})
    return connection


def get(address: str, path: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    connection.request("GET", path)
    content: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return content


def test_more_clients_than_places_are_told_so(tmp_path: Path) -> None:
    """Every request has one answer, a picture or 429; whoever comes again is served; memory does not grow."""
    statuses, runs, sizes = Counter[int](), set[str](), list[int]()

    async def client(http: httpx2.AsyncClient, number: int, end: float) -> None:
        served = seed = 0
        while time.monotonic() < end or not served:
            body = {"prompt": PROMPTS[number % len(PROMPTS)], "milr": {**SEARCH, "seed": seed, "stop": False}}
            answer = await http.post("/v1/images/generations", json=body)
            statuses[answer.status_code] += 1
            if answer.status_code == 429:
                assert answer.json()["error"]["code"] == "server_busy" and answer.headers["x-request-id"]
                await asyncio.sleep(int(answer.headers["retry-after"]))
                continue
            found = answer.raise_for_status().json()
            runs.add(found["milr"]["run"])
            served, seed = served + 1, seed + 1

    async def load(address: str, pid: int) -> str:
        end = time.monotonic() + SECONDS
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
        async with httpx2.AsyncClient(base_url=address, timeout=300, limits=limits) as http:
            clients = [asyncio.ensure_future(client(http, number, end)) for number in range(OVERLOAD)]
            await asyncio.sleep(SECONDS / 2)
            sizes.append(memory(pid))
            await asyncio.gather(*clients)
            sizes.append(memory(pid))
            return (await http.get("/metrics")).text

    with serving(tmp_path / "runs") as (process, address):
        metrics = asyncio.run(load(address, process.pid))
    assert set(statuses) == {200, 429} and len(runs) == statuses[200] >= OVERLOAD
    for status, count in statuses.items():
        assert f'milr_requests_total{{path="/v1/images/generations",status="{status}"}} {count}.0' in metrics
    assert "milr_active 0.0" in metrics and "milr_waiting 0.0" in metrics
    assert sizes[1] < sizes[0] + MOST_GROWTH
    assert runs == {path.parent.name for path in (tmp_path / "runs").glob("*/run.json")}


def test_more_connections_than_are_served_get_503(tmp_path: Path) -> None:
    """Idle connections take no memory without end, and keep nobody out when they are closed."""
    with serving(tmp_path / "runs") as (_, address):
        host, port = urlsplit(address).hostname, urlsplit(address).port
        idle = [socket.create_connection((host, port), timeout=30) for _ in range(CONNECTIONS)]
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
        connection.request("GET", "/v1/models")
        assert connection.getresponse().status == 503
        connection.close()
        for each in idle:
            each.close()
        assert [model["id"] for model in get(address, "/v1/models")["data"]] == ["nano"]


def test_openais_client(tmp_path: Path) -> None:
    with serving(tmp_path / "runs") as (_, address):
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        assert [model.id for model in client.models.list()] == ["nano"]
        answer = client.images.generate(prompt="a red star", n=4, extra_body={"milr": SEARCH})
        assert len(answer.data) == 4 and answer.usage.output_tokens > 0
        assert all(Image.open(io.BytesIO(base64.b64decode(each.b64_json))).size == (64, 64) for each in answer.data)
        assert [each.milr["sample"] for each in answer.data] == [0, 1, 2, 3]
        body = {"milr": {"method": "plain", "pictures": 1}}
        stream = client.images.generate(prompt="a red star", stream=True, partial_images=3, extra_body=body)
        kinds = [event.type for event in stream]
        assert kinds == ["image_generation.partial_image"] * 3 + ["image_generation.completed"]
        with pytest.raises(openai.BadRequestError) as refused:
            client.images.generate(prompt="a red star", size="1024x1024")
        assert (refused.value.param, refused.value.code) == ("size", "unsupported_value")
        assert refused.value.request_id.startswith("req_")
        with pytest.raises(openai.NotFoundError):
            client.images.generate(prompt="a red star", model="gpt-image-1")


def test_one_server_judges_for_another_milr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reward `judge` asks a milr that serves nano; its verdict is nano's own yes or no."""
    monkeypatch.setenv("MILR_CACHE", str(tmp_path / "cache"))
    (tmp_path / "caption.txt").write_text("{prompt}\n")
    with serving(tmp_path / "runs") as (_, address):
        outcome = milr.generate("a red star", method="plain", reward="judge", judge_url=f"{address}/v1",
                                judge_model="nano", judge_template=str(tmp_path / "caption.txt"),
                                judge_extra='{"milr": {"answer": "verdict"}}')  # fmt: skip
    own = milr.generate("a red star", method="plain", reward="self")
    assert outcome.first_score.value == float((own.first_score.value or 0) > 0.5)
