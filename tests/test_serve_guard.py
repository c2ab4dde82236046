"""Who may use `milr serve`, how much, and what becomes of the work of a client that stops it or goes away."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="milr serve needs the extra: pip install 'milr[web]'")
pytest.importorskip("uvicorn", reason="milr serve needs the extra: pip install 'milr[web]'")
pytest.importorskip("prometheus_client", reason="milr serve needs the extra: pip install 'milr[web]'")

import uvicorn  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

import milr as package  # noqa: E402
from milr.types import UsageError  # noqa: E402
from milr.web import server  # noqa: E402
from milr.web.app import make_app  # noqa: E402
from milr.web.errors import ApiError  # noqa: E402
from milr.web.gallery import Gallery  # noqa: E402
from milr.web.limits import Limits, ServerSettings  # noqa: E402
from milr.web.metrics import Metrics  # noqa: E402
from milr.web.searches import Ended, Made, Request, Searches, Started  # noqa: E402
from milr.workflows.serving import ServingSession  # noqa: E402
from test_serve import GENERATE, SETTINGS, events  # noqa: E402

KEY = "a-key-of-thirty-two-plain-letters"
LIMITS = Limits(pictures=5_000, body=20_000)


@pytest.fixture(scope="module")
def session(tiny_folder: Path) -> Iterator[ServingSession]:
    with ServingSession(tiny_folder, processes=False, **SETTINGS | {"pictures": None}) as one:
        yield one


@pytest.fixture
def settings(tmp_path: Path) -> ServerSettings:
    return ServerSettings(tmp_path / "runs", limits=LIMITS)


def client_of(session: ServingSession, settings: ServerSettings, host: str = "localhost") -> TestClient:
    return TestClient(make_app(session, settings), base_url=f"http://{host}")


# Who


def test_a_server_on_this_machine_answers_to_its_own_names_only(
    session: ServingSession, settings: ServerSettings
) -> None:
    for host, status in (("localhost:8000", 200), ("127.0.0.1", 200), ("[::1]:8000", 200), ("evil.example", 403),
                         ("localhost.evil.example", 403), ("127.0.0.1.evil.example:80", 403), ("[", 403)):  # fmt: skip
        with client_of(session, settings) as client:
            assert client.get("/v1/models", headers={"host": host}).status_code == status, host


def test_pages_of_other_sites_get_no_answer(session: ServingSession, settings: ServerSettings) -> None:
    with client_of(session, settings) as client:
        assert client.get("/v1/models", headers={"origin": "http://localhost"}).status_code == 200
        for headers in ({"origin": "http://evil.example"}, {"origin": "null"}, {"origin": "http://localhost:81"},
                        {"sec-fetch-site": "cross-site"}):  # fmt: skip
            assert client.get("/v1/models", headers=headers).json()["error"]["code"] == "wrong_origin"
        followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
        assert client.get("/", headers=followed).status_code == 200
        form = client.post(GENERATE, content="{}", headers={"content-type": "text/plain"})
        assert form.status_code == 415
        assert "access-control-allow-origin" not in form.headers


def test_a_key_opens_everything_but_the_page(session: ServingSession, settings: ServerSettings) -> None:
    with client_of(session, replace(settings, key=KEY, loopback=False), "203.0.113.5") as client:
        assert {client.get(path).status_code for path in ("/", "/healthz", "/static/app.js")} == {200}
        for path in ("/v1/models", "/metrics", "/api/menu", "/api/runs", "/api/runs/x/archive", "/nothing"):
            for key in (None, "", KEY[:-1], KEY + "x", "ä"):
                headers = {} if key is None else {"authorization": f"Bearer {key}".encode()}
                answer = client.get(path, headers=headers)  # type: ignore[arg-type]
                assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
                assert KEY not in answer.text
        assert client.get("/v1/models", headers={"authorization": f"Bearer {KEY}"}).status_code == 200


def test_others_need_a_key(milr: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
                           ) -> None:  # fmt: skip
    monkeypatch.delenv("MILR_API_KEY", raising=False)
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        code, _, error = milr("serve", "--host", host)
        assert code == 2 and "MILR_API_KEY" in error
    monkeypatch.setenv("MILR_API_KEY", "short")
    assert milr("serve", "--host", "0.0.0.0")[0] == 2
    monkeypatch.setenv("MILR_API_KEY", KEY)
    code, out, error = milr("serve", "--host", "192.0.2.1")  # no address of this machine
    assert code == 2 and "192.0.2.1, port 8000" in error and KEY not in out + error


def test_keys_come_from_a_file_or_the_environment(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert server.read_key(tmp_path / "key", "another-key-in-the-environment") == KEY
    assert server.read_key(None, KEY) == KEY and server.read_key(None, None) == ""
    (tmp_path / "empty").write_text("\n")
    for file in (tmp_path / "empty", tmp_path / "absent", tmp_path):
        with pytest.raises(UsageError, match="key's file"):
            server.read_key(file, KEY)
    assert [server.is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")] == [True] * 4
    assert [server.is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "localhost.evil")] == [False] * 4


def test_a_port_that_is_taken_is_said() -> None:
    with server.bind("127.0.0.1", 0) as listener, pytest.raises(UsageError, match="cannot be served"):
        server.bind("127.0.0.1", listener.getsockname()[1])


def test_every_answer_has_its_headers(session: ServingSession, settings: ServerSettings) -> None:
    with client_of(session, settings) as client:
        for path in ("/", "/healthz", "/nothing", "/static/app.js"):
            headers = client.get(path).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
            assert headers["x-content-type-options"] == "nosniff" and headers["x-request-id"].startswith("req_")
        assert client.get("/healthz").headers["x-request-id"] != client.get("/healthz").headers["x-request-id"]


# How much


def test_bodies_are_bounded_with_and_without_a_length(session: ServingSession, settings: ServerSettings) -> None:
    large = b'{"prompt": "' + b"x" * 20_000 + b'"}'
    kind = {"content-type": "application/json"}
    with client_of(session, settings) as client:
        assert client.post(GENERATE, content=large, headers=kind).json()["error"]["code"] == "body_too_large"
        pieces = (large[start : start + 1000] for start in range(0, len(large), 1000))
        assert client.post(GENERATE, content=pieces, headers=kind).status_code == 413


def test_a_full_queue_says_so_at_once(session: ServingSession, settings: ServerSettings) -> None:
    async def go() -> None:
        searches = Searches(session, replace(settings, limits=Limits(active=1, waiting=1)), Metrics())
        first, second = (searches.watch(Request("a star", 1, {"pictures": 50})) for _ in range(2))
        async with aclosing(first), aclosing(second):
            assert isinstance(await anext(first), Started)
            waiting = asyncio.ensure_future(anext(second))
            await asyncio.sleep(0)
            with pytest.raises(ApiError) as full:
                await anext(searches.watch(Request("a star", 1, {})))
            assert full.value.status == 429 and full.value.response().headers["retry-after"]
            await first.aclose()
            assert isinstance(await waiting, Started)  # whoever waited has the place now
        await searches.close()

    asyncio.run(go())


# No way to the files


NAMES = ["%2e%2e", "..%2f..%2fetc", "%2fetc%2fpasswd", "run%00", "a/../../etc", "x" * 101, ".hidden"]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_out_of_the_folder_of_runs(session: ServingSession, settings: ServerSettings, name: str) -> None:
    settings.out.mkdir()
    (settings.out.parent / "run.json").write_text("{}")
    with client_of(session, settings) as client:
        for path in (f"/api/runs/{name}", f"/api/runs/{name}/archive", f"/api/runs/{name}/pictures/x/0",
                     f"/static/{name}"):  # fmt: skip
            assert client.get(path).status_code == 404
        answer = client.post(f"/api/runs/{name}/resume", json={})
        assert answer.status_code in (400, 404, 405), answer.text


HOSTILE = [{"method": "/tmp/evil.py:m"}, {"reward": "judge"}, {"judge_url": "http://127.0.0.1:9/v1"},
           {"pictures": 10**6}, {"steps": 10**6}, {"model": "/tmp/evil.py:m"}, {"out": "/tmp"}]  # fmt: skip


@pytest.mark.parametrize("options", HOSTILE)
def test_a_folder_that_asks_for_more_than_a_client_may_is_not_resumed(
    session: ServingSession, settings: ServerSettings, options: dict[str, Any]
) -> None:
    with client_of(session, settings) as client:
        *_, (name, ended) = events(client, "/api/searches", {"prompt": "a red star", "milr": {"pictures": 1}})
        assert name == "ended"
        (line,) = client.get("/api/runs").json()["runs"]
        asked = {"version": 1, "prompt": "a red star", "samples": 1, "options": options}
        (settings.out / line["run"] / "request.json").write_text(json.dumps(asked))
        answer = client.post(f"/api/runs/{line['run']}/resume", json={})
        assert answer.status_code == 400 and "error" in answer.json()


def test_the_gallery_itself_takes_no_other_name(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "runs").mkdir()
    gallery = Gallery(tmp_path / "runs", lambda run: False)
    for name in ("..", ".", "", "../runs", "a/b", "a\nb", "runs\n"):
        with pytest.raises(ApiError, match="no such run"):
            gallery.folder(name)


def test_a_link_among_the_runs_is_none(session: ServingSession, settings: ServerSettings, tmp_path: Path) -> None:
    with client_of(session, settings) as client:
        started, *_ = events(client, "/api/searches", {"prompt": "a star", "milr": {"pictures": 1}})
        run = started[1]["run"]
        (tmp_path / "secret.txt").write_text("secret")
        (settings.out / "linked").symlink_to(settings.out / run)
        (settings.out / run / "stolen.txt").symlink_to(tmp_path / "secret.txt")
        assert client.get("/api/runs/linked").status_code == 404
        assert [line["run"] for line in client.get("/api/runs").json()["runs"]] == [run]
        with zipfile.ZipFile(io.BytesIO(client.get(f"/api/runs/{run}/archive").content)) as archive:
            names = archive.namelist()
    assert f"{run}/run.json" in names and f"{run}/report.html" in names and not any("stolen" in name for name in names)
    assert sum(name.endswith(".png") for name in names) == 1


# Stop, go away, come back


def test_a_stop_keeps_the_best_so_far(session: ServingSession, settings: ServerSettings) -> None:
    async def go() -> tuple[str, list[int], Any]:
        searches, made = Searches(session, settings, Metrics()), list[int]()
        run, outcomes = "", list[Any]()
        async for event in searches.watch(Request("a red star", 1, {"pictures": 500})):
            run = event.run if isinstance(event, Started) else run
            if isinstance(event, Made):
                made.append(event.step.index)
                assert searches.stop(run)
            outcomes = event.outcomes if isinstance(event, Ended) else outcomes
        await searches.close()
        assert not searches.stop(run)
        return run, made, outcomes[0]

    run, made, outcome = asyncio.run(go())
    assert len(made) < 20 and outcome.stop == "stopped" and len(outcome.steps) == len(made)
    assert outcome.score.value == max(step.score.value for step in outcome.steps)
    (stored,) = package.load_run(settings.out / run).outcomes
    assert stored.stop == "stopped" and stored.returned == outcome.returned


def test_whoever_stops_listening_gives_the_work_up_and_can_go_on(session: ServingSession, settings: ServerSettings
                                                                 ) -> None:  # fmt: skip
    options = {"pictures": 6, "seed": 3}

    async def leave() -> str:
        searches = Searches(session, settings, Metrics())
        async with aclosing(searches.watch(Request("a red star", 1, options))) as seen:
            started = await anext(seen)
            assert isinstance(started, Started) and isinstance(await anext(seen), Made)
        await searches.close()
        assert not searches.is_going(started.run)
        return started.run

    run = asyncio.run(leave())
    with client_of(session, settings) as client:
        (line,) = client.get("/api/runs").json()["runs"]
        assert (line["run"], line["state"], line["prompt"], line["score"]) == (run, "interrupted", "a red star", None)
        assert client.get(f"/api/runs/{run}").json()["request"]["options"] == options
        *_, (name, ended) = events(client, f"/api/runs/{run}/resume", {})
        assert name == "ended" and client.get(f"/api/runs/{run}").json()["state"] == "finished"
    alone = session.generate("a red star", pictures=6, seed=3)
    assert ended["samples"][0]["returned"] == alone.returned
    assert package.load_run(settings.out / run).outcomes[0].score.value == alone.score.value


@pytest.mark.parametrize("body", [{"prompt": "a star", "milr": {"pictures": 5000}},
                                  {"prompt": "a star", "stream": True, "milr": {"pictures": 5000}}])  # fmt: skip
def test_a_client_that_goes_away_ends_its_work(session: ServingSession, settings: ServerSettings, body: Any) -> None:
    app = make_app(session, settings)
    searches: Searches = app.state.served.searches
    with server.bind("127.0.0.1", 0) as listener:
        one = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
        thread = threading.Thread(target=one.run, args=([listener],), daemon=True)
        thread.start()
        connection = http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=10)
        connection.request("POST", GENERATE, json.dumps(body), {"content-type": "application/json"})
        wait_until(lambda: bool(searches._going))
        assert connection.sock is not None
        connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()
        wait_until(lambda: not searches._going)
        one.should_exit = True
        thread.join(10)


def test_answers_are_not_held_back_for_fuller_packets() -> None:
    """Nagle's algorithm would keep the second part of each answer until the client acknowledges the first: 40 ms."""

    async def delays() -> int:
        accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def on_client(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(on_client, sock=server.bind("127.0.0.1", 0)) as listening:
            _, writer = await asyncio.open_connection(*listening.sockets[0].getsockname()[:2])
            try:
                return await asyncio.wait_for(accepted, 10)
            finally:
                writer.close()

    assert asyncio.run(delays()) != 0


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
