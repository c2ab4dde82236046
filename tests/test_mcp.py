"""Tools for agents: draw, judge and read by the Model Context Protocol's own client, in process and over HTTP."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("mcp", reason="tools for agents need the extra: pip install 'milr[mcp]'")

import httpx2  # noqa: E402
from mcp.client import Client  # noqa: E402
from mcp.client.stdio import StdioServerParameters  # noqa: E402
from mcp.client.streamable_http import streamable_http_client  # noqa: E402
from mcp.shared.exceptions import MCPError  # noqa: E402
from mcp.types import CallToolResult  # noqa: E402

from milr.web.limits import Limits, ServerSettings  # noqa: E402
from milr.web.mcp_server import make_mcp_server  # noqa: E402
from milr.web.served import Served  # noqa: E402
from milr.workflows.serving import ServingSession  # noqa: E402
from served import served_on_a_socket  # noqa: E402
from test_serve import SETTINGS  # noqa: E402

ROOT = Path(__file__).parents[1]
KEY = "a-key-of-thirty-two-plain-letters"
LIMITS = Limits(prompt=200, pictures=5_000, samples=3, body=100_000, pixels=10_000)
Uses = Callable[[Client], Coroutine[Any, Any, None]]


@pytest.fixture(scope="module")
def session(tiny_folder: Path) -> Iterator[ServingSession]:
    with ServingSession(tiny_folder, processes=False, **SETTINGS) as one:
        yield one


@pytest.fixture
def settings(tmp_path: Path) -> ServerSettings:
    return ServerSettings(tmp_path / "runs", limits=LIMITS, mcp=True)


def in_process(session: ServingSession, settings: ServerSettings, use: Uses) -> None:
    async def go() -> None:
        served = Served(session, settings)
        async with Client(make_mcp_server(served)) as client:
            await use(client)
        await served.searches.close()

    asyncio.run(go())


@asynccontextmanager
async def client_at(address: str, key: str = "", mode: str = "auto") -> AsyncIterator[Client]:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(address, http_client=http), mode=mode) as client,
    ):
        yield client


def told(result: CallToolResult) -> str:
    """What a refused call says."""
    assert result.is_error, result
    return str(result.content[0].text)  # type: ignore[union-attr]


def found(result: CallToolResult) -> list[tuple[dict[str, Any], Image.Image]]:
    """The numbers and pictures of a call that drew."""
    assert not result.is_error, result
    pairs = zip(result.content[::2], result.content[1::2], strict=True)
    return [(json.loads(text.text), Image.open(io.BytesIO(base64.b64decode(picture.data))))  # type: ignore[union-attr]
            for text, picture in pairs]  # fmt: skip


def test_what_an_agent_reads_of_the_tools(session: ServingSession, settings: ServerSettings) -> None:
    async def use(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"generate", "judge", "list_runs", "show_run"}
        reading = {name for name, tool in tools.items() if tool.annotations and tool.annotations.read_only_hint}
        assert reading == {"list_runs", "show_run"}
        for tool in tools.values():
            assert tool.description and "context" not in tool.input_schema["properties"]
            assert all(field.get("description") for field in tool.input_schema["properties"].values())

    in_process(session, settings, use)


def test_a_picture_is_the_one_that_a_single_call_gives(session: ServingSession, settings: ServerSettings) -> None:
    progress: list[float] = []

    async def heard(done: float, total: float | None, message: str | None) -> None:
        progress.append(done)

    async def use(client: Client) -> None:
        asked = {"prompt": "a red star", "samples": 2, "seed": 7}
        pairs = found(await client.call_tool("generate", asked, progress_callback=heard))
        alone = session.generate("a red star", samples=2, seed=7)
        for (numbers, picture), outcome in zip(pairs, alone, strict=True):
            assert picture.tobytes() == outcome.picture.convert("RGB").tobytes()
            assert numbers["score"] == outcome.score.value and numbers["sample"] == outcome.key.sample
            (stored,) = (await client.read_resource(numbers["picture"])).contents
            assert Image.open(io.BytesIO(base64.b64decode(stored.blob))).tobytes() == picture.tobytes()  # type: ignore[union-attr]
        assert progress == list(range(1, sum(len(outcome.steps) for outcome in alone) + 1))

    in_process(session, settings, use)


def test_an_agent_reads_a_search(session: ServingSession, settings: ServerSettings) -> None:
    async def use(client: Client) -> None:
        ((numbers, picture),) = found(await client.call_tool("generate", {"prompt": "a red star"}))
        run = numbers["picture"].split("/")[3]
        (line,) = (await client.call_tool("list_runs", {"query": "RED"})).structured_content["runs"]  # type: ignore[index]
        assert (line["run"], line["state"], line["prompt"]) == (run, "finished", "a red star")
        assert (await client.call_tool("list_runs", {"query": "blue"})).structured_content["runs"] == []  # type: ignore[index]
        ((shown, seen),) = found(await client.call_tool("show_run", {"run": run}))
        (sample,) = shown["samples"]
        assert len(sample["steps"]) == 3 and seen.tobytes() == picture.tobytes()
        assert sample["steps"][sample["returned"]]["score"] == numbers["score"]

    in_process(session, settings, use)


def test_a_picture_of_a_run_or_of_the_client_is_judged(session: ServingSession, settings: ServerSettings) -> None:
    async def use(client: Client) -> None:
        ((numbers, picture),) = found(await client.call_tool("generate", {"prompt": "a red star"}))
        content = io.BytesIO()
        picture.save(content, "PNG")
        url = f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
        for address in (numbers["picture"], url):
            judged = await client.call_tool("judge", {"prompt": "a red star", "picture": address})
            assert judged.structured_content["score"] == pytest.approx(numbers["score"])  # type: ignore[index]
        for address in ("http://example.org/a.png", "file:///etc/passwd", "/etc/passwd", "milr://runs/../pictures/a/0",
                        numbers["picture"] + "9", "data:image/png;base64,AAAA"):  # fmt: skip
            assert told(await client.call_tool("judge", {"prompt": "a star", "picture": address}))

    in_process(session, settings, use)


REFUSED = [({"prompt": "x" * 201}, "at most 200"), ({"prompt": "a star", "samples": 4}, "from 1 to 3"),
           ({"prompt": "a star", "method": "/tmp/evil.py:m"}, "method"),
           ({"prompt": "a star", "reward": "judge"}, "reward"), ({"prompt": "a star", "seed": -1}, "seed"),
           ({"prompt": "a star", "complexity": "endless"}, "complexity"), ({"prompt": ""}, "prompt"),
           ({}, "prompt")]  # fmt: skip


@pytest.mark.parametrize(("asked", "says"), REFUSED)
def test_what_is_not_served_is_refused_in_words(
    session: ServingSession, settings: ServerSettings, asked: dict[str, Any], says: str
) -> None:
    async def use(client: Client) -> None:
        assert says in told(await client.call_tool("generate", asked))
        assert not settings.out.exists() or not list(settings.out.iterdir())

    in_process(session, settings, use)


def test_no_name_leads_out_of_the_folder_of_runs(session: ServingSession, settings: ServerSettings) -> None:
    settings.out.mkdir()
    (settings.out.parent / "run.json").write_text("{}")

    async def use(client: Client) -> None:
        for name in ("..", "../..", "/etc/passwd", "a/../../etc", "run\x00", "x" * 101, ".hidden"):
            assert "no such run" in told(await client.call_tool("show_run", {"run": name}))
        for address in ("milr://runs/../pictures/x/0", "milr://runs/%2e%2e/pictures/x/0", "milr://runs/x/pictures/y/-1",
                        "file:///etc/passwd"):  # fmt: skip
            with pytest.raises(MCPError):
                await client.read_resource(address)

    in_process(session, settings, use)


def test_what_nobody_expected_is_told_without_its_words(
    session: ServingSession, settings: ServerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*args: object) -> None:
        raise RuntimeError("/home/secret")

    monkeypatch.setattr(session, "judge", fail)
    monkeypatch.setattr(session, "search", fail)

    async def use(client: Client) -> None:
        ((_, picture),) = [(0, Image.new("RGB", (8, 8)))]
        content = io.BytesIO()
        picture.save(content, "PNG")
        url = f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
        assert "secret" not in told(await client.call_tool("judge", {"prompt": "a star", "picture": url}))
        assert "secret" not in told(await client.call_tool("generate", {"prompt": "a star"}))

    in_process(session, settings, use)


def test_a_full_queue_says_so(session: ServingSession, settings: ServerSettings) -> None:
    async def use(client: Client) -> None:
        assert "busy" in told(await client.call_tool("generate", {"prompt": "a star"}))

    in_process(session, replace(settings, limits=replace(LIMITS, active=1, waiting=-1)), use)


# Over HTTP


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_over_http_behind_the_key(session: ServingSession, settings: ServerSettings, mode: str) -> None:
    async def use(address: str) -> None:
        async with client_at(address, KEY, mode) as client:
            ((numbers, _),) = found(await client.call_tool("generate", {"prompt": "a red star"}))
            assert numbers["score"] is not None
        for key in ("", KEY + "x"):
            with pytest.raises(BaseException) as refused:  # the client's own groups of errors
                async with client_at(address, key, mode) as client:
                    await client.call_tool("list_runs", {})
            assert KEY not in repr(refused.value)

    with served_on_a_socket(session, replace(settings, key=KEY)) as (root, _):
        asyncio.run(use(f"{root}/mcp"))


def test_reading_may_be_open(session: ServingSession, settings: ServerSettings) -> None:
    async def use(address: str) -> None:
        async with client_at(address) as client:
            assert not (await client.call_tool("list_runs", {})).is_error
            for tool, asked in (("generate", {"prompt": "a star"}), ("judge", {"prompt": "a star", "picture": "x"})):
                assert "Authorization: Bearer" in told(await client.call_tool(tool, asked))
        async with client_at(address, KEY) as client:
            found(await client.call_tool("generate", {"prompt": "a red star"}))

    with served_on_a_socket(session, replace(settings, key=KEY, open_reading=True)) as (root, _):
        asyncio.run(use(f"{root}/mcp"))
        assert httpx2.get(f"{root}/api/runs").status_code == 401  # nothing else is open
        wrong = {"authorization": "Bearer wrong", "content-type": "application/json"}
        assert httpx2.post(f"{root}/mcp", content="{}", headers=wrong).status_code == 401


def test_the_guard_stands_before_the_tools(session: ServingSession, settings: ServerSettings) -> None:
    kind = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    with served_on_a_socket(session, settings) as (root, _):
        wrong = {"host": "evil.example", "origin": "http://evil.example", "sec-fetch-site": "cross-site"}
        for name, value in wrong.items():
            assert httpx2.post(f"{root}/mcp", content="{}", headers={**kind, name: value}).status_code == 403
        assert (
            httpx2.post(f"{root}/mcp", content="{}", headers={**kind, "content-type": "text/plain"}).status_code == 415
        )
        assert httpx2.post(f"{root}/mcp", content=b"x" * 200_000, headers=kind).status_code == 413
    with served_on_a_socket(session, replace(settings, mcp=False)) as (root, _):
        assert httpx2.post(f"{root}/mcp", content="{}", headers=kind).status_code == 404


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_client_that_goes_away_ends_its_work(session: ServingSession, settings: ServerSettings, mode: str) -> None:
    async def leave(address: str, served: Served) -> None:
        async with client_at(address, mode=mode) as client:
            asked = {"prompt": "a star", "samples": 3, "complexity": "high"}
            call = asyncio.ensure_future(client.call_tool("generate", asked))
            await wait_until(lambda: bool(served.searches._going))
            call.cancel()
        await wait_until(lambda: not served.searches._going, seconds=2)

    with served_on_a_socket(session, settings) as (root, served):
        asyncio.run(leave(f"{root}/mcp", served))
        cancelled = served.metrics.searches.labels("given up")._value.get()
        assert cancelled == 1


# The command line


def test_what_the_flags_need_is_said(milr: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
                                     ) -> None:  # fmt: skip
    code, _, error = milr("serve", "--open-reading")
    assert code == 2 and "--mcp" in error
    monkeypatch.setattr("milr.cli.serve.find_spec", lambda name: None if name == "mcp" else name)
    for command in (["mcp"], ["serve", "--mcp"]):
        code, _, error = milr(*command)
        assert code != 0 and "pip install 'milr[mcp]'" in error


# Over stdio


def test_a_client_starts_the_command_itself(tmp_path: Path) -> None:
    async def go() -> None:
        flags = ["--out", str(tmp_path / "runs"), "--method", "redraw_sampled"]
        environment = {
            "PYTHONPATH": str(ROOT / "src"),
            "MILR_API_KEY": KEY,
        }  # the client is trusted: no key is asked for
        command = StdioServerParameters(command=sys.executable, args=["-m", "milr.cli", "mcp", *flags], env=environment)
        async with Client(command) as client:
            asked = {"prompt": "a red star", "complexity": "low"}
            ((numbers, picture),) = found(await client.call_tool("generate", asked))
            assert picture.size == (64, 64) and numbers["pictures"] <= 4
            judged = await client.call_tool("judge", {"prompt": "a red star", "picture": numbers["picture"]})
            assert judged.structured_content["score"] == pytest.approx(numbers["score"])  # type: ignore[index]

    asyncio.run(go())
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "run.json").is_file()


async def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
