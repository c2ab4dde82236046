"""A judge behind HTTP: the official client against a real server that answers, stalls, refuses and breaks off."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from chat_server import CUT, SILENT, ChatServer, Reply, fails, on_loopback, says, serving
from milr.rewards.endpoint import client as endpoint
from milr.rewards.endpoint.client import EndpointClient
from milr.rewards.endpoint.settings import EndpointSettings
from milr.types import JudgeError, MissingError, Score, UsageError

KEY = "sk-very-secret-and-long"
RED = Image.new("RGB", (4, 3), "red")
BLUE = Image.new("RGB", (4, 3), "blue")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    on_loopback(monkeypatch, tmp_path_factory.getbasetemp())


def at(server: ChatServer | str, **settings: Any) -> EndpointClient:
    url = server if isinstance(server, str) else server.url
    quick = {"first_wait": 0.001, "longest_wait": 0.002, "timeout": 60.0} | settings
    return EndpointClient(EndpointSettings(url, "some-judge", **quick))


def read(answer: str) -> Score | None:
    return Score(float(answer)) if answer in ("0", "1") else None


def judged(judge: EndpointClient, picture: Image.Image = RED, question: str = "Well?") -> Score:
    return asyncio.run(judge.judge(picture, question, read))


def test_a_question_and_its_answer() -> None:
    with serving(says("1")) as server:
        judge = at(server, max_tokens=7)
        assert judged(judge) == Score(1.0, calls=1)
    (request,) = server.requests
    assert request["model"] == "some-judge" and request["max_tokens"] == 7 and request["temperature"] == 0
    ((message),) = request["messages"]
    picture, text = message["content"]
    assert message["role"] == "user" and text == {"type": "text", "text": "Well?"}
    kind, data = picture["image_url"]["url"].split(",")
    sent = Image.open(io.BytesIO(base64.b64decode(data)))
    assert kind == "data:image/png;base64" and sent.format == "PNG" and sent.tobytes() == RED.tobytes()
    assert server.keys == [f"Bearer {KEY}"] and judge.calls == 1


@pytest.mark.parametrize("trouble", [fails(429), fails(500), fails(503), fails(408), CUT, SILENT])
def test_passing_trouble_is_asked_again(trouble: Reply | str) -> None:
    with serving(trouble, trouble, says("1")) as server:
        judge = at(server)
        assert judged(judge).value == 1.0 and judge.calls == len(server.requests) == 3


def test_a_server_that_stays_broken_is_unscored_after_its_attempts() -> None:
    with serving(fails(500, "out of\n memory")) as server:
        score = judged(at(server, max_attempts=3))
    assert score.value is None and len(server.requests) == 3
    assert f"some-judge at {server.url} failed 3 times (HTTP 500: out of memory);" in score.reason


def test_a_slow_server_is_not_waited_for() -> None:
    began = time.perf_counter()
    with serving(says("1", after=20)) as server:
        score = judged(at(server, timeout=0.1, max_attempts=2))
        assert score.value is None and "2 times (no answer within 0.1 s)" in score.reason
        assert time.perf_counter() - began < 10 and len(server.requests) == 2


def test_a_slow_answer_within_the_time_is_taken() -> None:
    with serving(says("1", after=0.2)) as server:
        assert judged(at(server)).value == 1.0


def test_nobody_listening() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        score = judged(at(url, max_attempts=2))
    assert score.value is None and "2 times (no connection" in score.reason and "check that it runs" in score.reason


@pytest.mark.parametrize(
    ("reply", "message"),
    [(fails(401), "environment variable OPENAI_API_KEY"), (fails(403), "may use this model"),
     (fails(404), "the model's name"), (fails(400, "no pictures, please"), "HTTP 400: no pictures, please")],
)  # fmt: skip
def test_what_asking_again_cannot_mend_is_not_asked_again(reply: Reply, message: str) -> None:
    with serving(reply) as server:
        with pytest.raises(JudgeError, match=message):
            asyncio.run(at(server).ask(RED, "Well?"))
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [Reply(b"{not json"), Reply(b"<html>", headers={"content-type": "text/html"}), Reply([1]), Reply(None),
     Reply({"error": "x"}), Reply({"choices": [{}]}), Reply({"choices": "abc"}), Reply({"choices": None}),
     Reply({"choices": [{"message": {"content": [1]}}]})],
    ids=lambda reply: reply.content.decode()[:20],
)  # fmt: skip
def test_a_body_that_is_no_completion_fails_at_once(reply: Reply) -> None:
    with serving(reply) as server:
        score = judged(at(server))
    assert score.value is None and "not a chat completion" in score.reason and "/v1" in score.reason
    assert len(server.requests) == 1


@pytest.mark.parametrize("nothing", [says("What a lovely picture!"), says(""), says(None), Reply({"choices": []})])
def test_an_answer_that_cannot_be_read_is_asked_for_again(nothing: Reply) -> None:
    with serving(nothing, nothing, says("0")) as server:
        assert judged(at(server)) == Score(0.0, calls=3)
    with serving(nothing) as server:
        score = judged(at(server))
        assert score.value is None and "could not be read in 3 tries" in score.reason
        assert score.calls == len(server.requests) == 3


def test_the_server_says_how_long_to_wait() -> None:
    with serving(fails(429, retry_after="30"), says("1")) as server:
        began = time.perf_counter()
        assert judged(at(server, longest_wait=0.3)).value == 1.0  # at most as long as we would
        assert 0.3 <= time.perf_counter() - began < 20
    with serving(fails(429, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"), says("1")) as server:
        assert judged(at(server)).value == 1.0


def test_no_more_questions_at_once_than_allowed() -> None:
    async def ask_all(judge: EndpointClient) -> list[Score]:
        return await asyncio.gather(*(judge.judge(RED, str(number), read) for number in range(9)))

    with serving(says("1", after=0.15)) as server:
        scores = asyncio.run(ask_all(at(server, concurrency=3)))
        assert [score.value for score in scores] == [1.0] * 9 and 2 <= server.max_concurrent <= 3


def test_the_same_judge_in_two_event_loops() -> None:
    with serving(says("1")) as server:
        judge = at(server, concurrency=1)
        assert [judged(judge).value for _ in range(3)] == [1.0] * 3


def test_a_question_given_up_leaves_the_judge_usable() -> None:
    async def give_up(judge: EndpointClient) -> None:
        async with asyncio.timeout(0.1):
            await judge.judge(RED, "Well?", read)

    with serving(says("1", after=0.5), says("1")) as server:
        judge = at(server, concurrency=1)
        with pytest.raises(TimeoutError):
            asyncio.run(give_up(judge))
        assert judged(judge).value == 1.0


# The cap


def test_the_cap_on_calls_counts_every_request() -> None:
    with serving(fails(500), says("1")) as server:
        judge = at(server, max_calls=3)
        scores = [judged(judge, question=str(number)) for number in range(4)]
        assert [score.value for score in scores] == [1.0, 1.0, None, None] and len(server.requests) == 3
    assert "the cap of 3 calls to some-judge is reached" in scores[-1].reason


def test_the_cap_holds_among_many_at_once_and_within_attempts() -> None:
    async def ask_all(judge: EndpointClient) -> list[Score]:
        return await asyncio.gather(*(judge.judge(RED, str(number), read) for number in range(9)))

    with serving(says("1", after=0.02)) as server:
        scores = asyncio.run(ask_all(at(server, max_calls=5)))
        assert sum(score.value == 1.0 for score in scores) == 5 == len(server.requests)
    with serving(fails(500)) as server:
        assert "the cap of 2 calls" in judged(at(server, max_calls=2)).reason and len(server.requests) == 2


# The cache


def test_a_kept_answer_costs_no_request(tmp_path: Path) -> None:
    with serving(says("hm"), says("1")) as server:
        first = judged(at(server, cache_folder=tmp_path / "new" / "folder"))
        again = judged(at(server, cache_folder=tmp_path / "new" / "folder", max_calls=0))
        assert first == again == Score(1.0, calls=2) and len(server.requests) == 2


@pytest.mark.parametrize(
    "other", [{"picture": BLUE}, {"picture": RED.resize((3, 4))}, {"question": "Really?"}, {"model": "another"},
              {"max_tokens": 9}, {"temperature": 0.5}],
)  # fmt: skip
def test_another_question_is_asked_anew(tmp_path: Path, other: dict[str, Any]) -> None:
    with serving(says("1")) as server:
        settings = EndpointSettings(server.url, "some-judge", cache_folder=tmp_path)
        judged(EndpointClient(settings))
        changed = {name: other.pop(name) for name in ("model", "max_tokens", "temperature") if name in other}
        settings = replace(settings, **changed)
        judged(EndpointClient(settings), **other)
        assert len(server.requests) == 2 == len(list(tmp_path.iterdir()))


def test_what_could_not_be_read_or_had_is_not_kept(tmp_path: Path) -> None:
    with serving(says("hm"), says("hm"), says("hm"), fails(400), says("1")) as server:
        values = [judged(at(server, cache_folder=tmp_path)).value for _ in range(3)]
        assert values == [None, None, 1.0] and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"answer": "1"}', b"\xff", b'{"answer": "hm", "tries": 1}'])
def test_a_damaged_or_unreadable_kept_answer_is_replaced(tmp_path: Path, content: bytes) -> None:
    with serving(says("1")) as server:
        judged(at(server, cache_folder=tmp_path))
        (file,) = tmp_path.iterdir()
        file.write_bytes(content)
        assert judged(at(server, cache_folder=tmp_path)).value == 1.0 and len(server.requests) == 2
        assert json.loads(file.read_text()) == {"model": "some-judge", "answer": "1", "tries": 1}


def test_a_cache_that_cannot_be_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="another folder"):
        at("http://localhost/v1", cache_folder=tmp_path / "file")


# The key


def test_the_key_is_nowhere(tmp_path: Path) -> None:
    quoting = [fails(401, f"{KEY} is a wrong key"), says(f"{KEY}"), says("1")]
    with serving(*quoting) as server:
        judge = at(server, cache_folder=tmp_path)
        with pytest.raises(JudgeError, match=r"\*\*\* is a wrong key") as refused:
            asyncio.run(judge.ask(RED, "Well?"))
        assert refused.value.__cause__ is None and refused.value.__suppress_context__
        scores = [judged(judge)]
        stored = [file.read_text() for file in tmp_path.iterdir()]
    assert len(stored) == 1
    for text in (str(refused.value), repr(judge), repr(judge.settings), str(judge.identity()), repr(scores), *stored):
        assert KEY not in text


def test_an_endpoint_that_wants_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with serving(says("1")) as server:
        assert judged(at(server)).value == 1.0
        assert server.keys == ["Bearer none"]


def test_another_variable_may_hold_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", " other-key\n")
    with serving(says("1")) as server:
        assert judged(at(server, key_variable="MY_KEY")).value == 1.0
        assert server.keys == ["Bearer other-key"]


def test_openai_wants_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    at("https://api.openai.com/v1")
    monkeypatch.setenv("OPENAI_API_KEY", " ")
    with pytest.raises(MissingError, match="OPENAI_API_KEY"):
        at("https://api.openai.com/v1")


@pytest.mark.parametrize("key", ["sk-two\nlines", "sk-schlüssel"])
def test_a_key_that_no_header_can_hold_is_refused_unquoted(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UsageError, match="OPENAI_API_KEY") as refused:
        at("http://localhost/v1")
    assert key not in str(refused.value) and "sk-" not in str(refused.value)


# Settings


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://localhost", "http://", "http://localhost:port/v1", "http://[::1/v1",
            "http://user:word@localhost/v1", "http://localhost/v1?key=secret"],
)  # fmt: skip
def test_a_useless_address_is_refused_and_no_secret_quoted(url: str) -> None:
    with pytest.raises(UsageError, match="the judge's address") as refused:
        EndpointSettings(url, "m")
    assert "word" not in str(refused.value).replace("password", "") and "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "wrong", [{"model": ""}, {"max_attempts": 0}, {"max_answers": 0}, {"concurrency": 0}, {"max_tokens": 0},
              {"timeout": 0}, {"max_calls": -1}, {"temperature": -0.1}],
)  # fmt: skip
def test_useless_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="judge's"):
        EndpointSettings(**{"base_url": "http://localhost/v1", "model": "m"} | wrong)


@pytest.mark.parametrize("package", ["openai", "tenacity"])
def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setattr(endpoint, "find_spec", lambda name: None if name == package else object())
    with pytest.raises(MissingError, match=rf"{package}.*milr\[judge\]"):
        at("http://localhost/v1")


def test_the_identity_says_who_is_asked() -> None:
    identity = at("http://localhost/v1").identity()
    assert identity == {
        "model": "some-judge", "base_url": "http://localhost/v1", "max_tokens": 4096, "temperature": 0.0
    }  # fmt: skip
