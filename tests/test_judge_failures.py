"""What public servers answer when they do not answer: cut, refusing, busy, out of credit, endless, damaged."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from chat_server import ChatServer, Reply, fails, on_loopback, says, serving
from milr.outside.text import clean, hide_secrets, printable
from milr.rewards.endpoint.bounded_http import MAX_BODY
from milr.rewards.endpoint.client import EndpointClient
from milr.rewards.endpoint.completion import read_completion
from milr.rewards.endpoint.failures import EndpointFailure
from milr.rewards.endpoint.retrying import _wait
from milr.rewards.endpoint.settings import EndpointSettings, parse_extra
from milr.rewards.endpoint.waiting import requested_wait
from milr.rules.judgements import zero_or_minus_one
from milr.types import Score, UsageError

RED = Image.new("RGB", (4, 3), "red")
KEY = "q" + "".join(chr(97 + (7 * number) % 26) + str(number % 10) for number in range(82))[:163]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    on_loopback(monkeypatch, tmp_path_factory.getbasetemp())


def parse(answer: str) -> Score | None:
    value = zero_or_minus_one(answer)
    return None if value is None else Score(value)


def judged(server: ChatServer, **chosen: Any) -> Score:
    quick = {"first_wait": 0.001, "longest_wait": 1.0, "timeout": 60.0} | chosen
    client = EndpointClient(EndpointSettings(server.url, "some-judge", **quick))
    return asyncio.run(client.judge(RED, "Well?", parse))


def choice(finish: str | None = "stop", **message: Any) -> Reply:
    return Reply({"choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant"} | message}]})


@pytest.mark.parametrize(
    ("reply", "reason"),
    [(choice("length", content="0"), "--judge-tokens"),
     (choice("length", content="So far I count 0 blue circles and"), "--judge-tokens"),
     (choice("MAX_TOKENS", content="0"), "--judge-tokens"),
     (choice("length", content=None, reasoning_content="I see"), "while it reasoned"),
     (choice("content_filter", content="0"), "content filter"),
     (choice("stop", content=None, refusal="I cannot look at people"), "I cannot look at people"),
     (choice("tool_calls", content=None, tool_calls=[{"id": "1"}]), "called a tool"),
     (choice("abort", content="0"), "before it was complete")],
)  # fmt: skip
def test_what_is_no_whole_answer_is_no_verdict_and_not_repeated(reply: Reply, reason: str) -> None:
    with serving(reply) as server:
        score = judged(server)
        assert score.value is None and reason in score.reason and len(server.requests) == 1


@pytest.mark.parametrize(
    "content", ["0", 0, [{"type": "text", "text": "0"}], {"type": "text", "text": "0"},
                [{"type": "thinking", "thinking": "-1?"}, {"type": "text", "text": "0"}]],
)  # fmt: skip
def test_the_content_may_be_parts(content: Any) -> None:
    with serving(choice(content=content)) as server:
        assert judged(server).value == 1.0


def refuses(field: str, instead: str = "") -> Any:
    def reply(request: dict[str, Any]) -> Reply:
        if field not in request and (not instead or instead in request):
            return says("0")
        words = f"Unsupported parameter: '{field}' is not supported with this model. {instead and f'Use {instead!r}.'}"
        return Reply({"error": {"message": words, "param": field, "code": "unsupported_parameter"}}, 400)

    return reply


def test_a_refused_field_is_learned_once() -> None:
    for field, instead in (("max_tokens", "max_completion_tokens"), ("max_completion_tokens", ""), ("temperature", "")):
        chosen = {"tokens_field": "max_completion_tokens"} if field == "max_completion_tokens" else {}
        with serving(refuses(field, instead)) as server:
            client = EndpointClient(EndpointSettings(server.url, "m", **chosen))  # type: ignore[arg-type]
            scores = [asyncio.run(client.judge(RED, question, parse)) for question in "ab"]
            assert [score.value for score in scores] == [1.0, 1.0] and len(server.requests) == 3


def test_an_error_inside_a_200_counts_as_its_code() -> None:
    overloaded = Reply({"error": {"message": "upstream overloaded", "code": 502}})
    inside = Reply({"choices": [{"error": {"message": "upstream overloaded", "code": 502}}]})
    with serving(overloaded, inside, says("0")) as server:
        assert judged(server).value == 1.0 and len(server.requests) == 3
    with serving(overloaded) as server:
        assert "HTTP 502: upstream overloaded" in judged(server, max_attempts=2).reason


def test_a_busy_server_gets_patience_and_an_empty_account_none() -> None:
    with serving(*[fails(429)] * 9, says("0")) as server:
        assert judged(server, longest_wait=0.01).value == 1.0
    with serving(fails(429)) as server:
        score = judged(server, patience=0.01)
        assert score.value is None and "--judge-concurrency" in score.reason
    with serving(fails(429, retry_after="7200")) as server:
        assert judged(server).value is None and len(server.requests) == 1
    for error in ({"code": "insufficient_quota"}, {"type": "insufficient_quota"}):
        with serving(Reply({"error": {"message": "x"} | error}, 429)) as server:
            assert "no credit" in judged(server).reason and len(server.requests) == 1


def test_many_questions_at_ten_a_window_are_all_answered() -> None:
    count = iter(range(1000))

    def limited(request: dict[str, Any]) -> Reply:
        return says("0") if next(count) % 3 == 0 else fails(429)

    async def ask(client: EndpointClient) -> list[Score]:
        return await asyncio.gather(*(client.judge(RED, str(number), parse) for number in range(24)))

    with serving(limited) as server:
        chosen = EndpointSettings(server.url, "m", first_wait=0.001, longest_wait=0.01)
        assert {score.value for score in asyncio.run(ask(EndpointClient(chosen)))} == {1.0}


@pytest.mark.parametrize(
    ("headers", "error", "seconds"),
    [({"retry-after": "37.41"}, None, 37.41), ({"retry-after-ms": "250"}, None, 0.25),
     ({"x-ratelimit-reset-requests": "6m0s"}, None, 360), ({"x-ratelimit-reset-requests": "20ms"}, None, 0.02),
     ({}, {"message": "Please try again in 1m12s. Visit"}, 72), ({}, {"details": [{"retryDelay": "37s"}]}, 37),
     ({"retry-after": "nan"}, None, None), ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, None, 0),
     ({}, "x", None)],
)  # fmt: skip
def test_how_long_to_wait(headers: dict[str, str], error: Any, seconds: float | None) -> None:
    assert requested_wait(headers, error) == (None if seconds is None else pytest.approx(seconds))


def test_a_small_context_names_the_option() -> None:
    with serving(fails(400, "'max_tokens' is too large: 4096. This model's maximum context length is 4096")) as server:
        assert "--judge-tokens" in judged(server).reason and len(server.requests) == 1


def test_an_address_with_a_version_and_fields_of_the_users_own() -> None:
    EndpointSettings("https://x.openai.azure.com/openai/deployments/d?api-version=2024-10-21", "m")
    with serving(says("0")) as server:
        judged(server, extra=parse_extra('{"chat_template_kwargs": {"enable_thinking": false}, "temperature": null}'))
        (request,) = server.requests
    assert request["chat_template_kwargs"] == {"enable_thinking": False} and "temperature" not in request


@pytest.mark.parametrize(
    "extra", ['{"api_key": "x"}', '{"headers": {"Authorization": "x"}}', '{"a": "sk-abcdefghijklmnopqrstuv"}', "[1]",
              "{", '{"model": "x"}', '{"max_tokens": 3}', "[" * 5000, '{"a": ' + "[" * 30 + "]" * 30 + "}"],
)  # fmt: skip
def test_extra_fields_that_are_refused(extra: str) -> None:
    with pytest.raises(UsageError, match="--judge-extra") as refused:
        EndpointSettings("http://localhost/v1", "m", extra=parse_extra(extra))
    assert "abcdefghijkl" not in str(refused.value)


def test_no_part_of_a_long_key_is_told() -> None:
    with serving(fails(401, "y" * 150 + f" Incorrect key: {KEY}, {KEY[20:60]}, {KEY[:9]}")) as server:
        reason = judged(server).reason
    assert not any(KEY[start : start + 9] in reason for start in range(len(KEY) - 8)) and "***" in reason
    assert hide_secrets(f"a {KEY[:9]} b") == "a *** b" and KEY[:8] in hide_secrets(KEY[:8])
    assert KEY[:12] not in clean(f"{KEY[:6]}\x1b[0m{KEY[6:]}")


def test_a_query_of_the_address_goes_with_every_request_and_the_key_in_headers_alone() -> None:
    with serving(says("0"), fails(401, f"wrong key {KEY}")) as server:
        address = f"{server.url}?api-version=2024-10-21&deployment=a%20b"
        client = EndpointClient(EndpointSettings(address, "m"))
        passed, failed = (asyncio.run(client.judge(RED, question, parse)) for question in "ab")
        assert passed.value == 1.0
    assert server.paths == ["/v1/chat/completions?api-version=2024-10-21&deployment=a+b"] * 2
    for headers, body in zip(server.headers, server.requests, strict=True):
        assert headers["authorization"] == f"Bearer {KEY}" and headers["api-key"] == KEY
        assert not parts_of_the_key(json.dumps(body) + "".join(server.paths))
        assert not parts_of_the_key(json.dumps({**headers, "authorization": "", "api-key": ""}))
    assert failed.value is None and "api-version=2024-10-21" in failed.reason and not parts_of_the_key(failed.reason)
    assert client.identity()["base_url"] == address


def test_an_address_without_an_api_version_sends_one_header_with_the_key() -> None:
    with serving(says("0")) as server:
        client = EndpointClient(EndpointSettings(f"{server.url}?team=a", "m"))
        assert asyncio.run(client.judge(RED, "a", parse)).value == 1.0
    assert server.paths == ["/v1/chat/completions?team=a"] and "api-key" not in server.headers[0]


def parts_of_the_key(text: str) -> list[str]:
    """The parts of the key with more than eight characters that the text holds."""
    return [part for start in range(len(KEY) - 8) if (part := KEY[start : start + 9]) in text]


LEAKS = (f"0\n\nYour key is {KEY}.", f"0\n\nYour key begins with {KEY[:40]}", f"-1 ({KEY[30:39]})", f"Key? {KEY[50:]}")


def test_no_file_of_a_finished_run_holds_a_part_of_the_key(
    tmp_path: Path, milr: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("JUDGE_API_KEY", KEY)
    monkeypatch.setenv("MILR_CACHE", str(tmp_path / "cache"))
    rows = []
    for number in range(6):
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,picture {number}")
    (tmp_path / "list.csv").write_text("\n".join(["path,prompt", *rows]))
    answers = [says(text) for text in LEAKS]
    failures = [fails(401, f"Incorrect key {KEY}; see {KEY[5:25]}"), fails(400, KEY[::1] + " " + KEY[3:12])]
    with serving(*answers, *failures) as server:
        score = ("score", "list", "list.csv", "--reward", "judge", "--judge-url", server.url, "--judge-model", "m",
                 "--judge-concurrency", "1", "--in-flight", "1", "--out", "run")  # fmt: skip
        commands = (score, ("report", "run"), ("compare", "run", "--partial"), ("doctor", "run"),
                    ("export", "run", "--layout", "t2i-compbench", "--to", "pictures"))  # fmt: skip
        said = [" ".join(map(str, milr(*command))) for command in commands]
    assert len(server.requests) > 6 and all(headers["authorization"] == f"Bearer {KEY}" for headers in server.headers)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"run.json", "report.html", "report.json", "table.csv", "compare.md"} <= {path.name for path in files}
    records = [path.read_text(encoding="utf-8") for path in (tmp_path / "run" / "records").iterdir()]
    assert len(records) == 6 and any("***" in record for record in records), "what was said is kept without the key"
    for path in files:
        assert not parts_of_the_key(path.read_bytes().decode("latin-1")), path
    assert not parts_of_the_key("\n".join(said) + caplog.text)


@pytest.mark.parametrize(("status", "encoding"), [(200, ""), (400, ""), (200, "br")])
def test_a_body_has_a_limit(status: int, encoding: str) -> None:
    headers = {"content-encoding": encoding} if encoding else {}
    with serving(Reply(b"x" * (MAX_BODY + 1), status, headers)) as server:
        score = judged(server)
        assert score.value is None and len(score.reason) < 1000 and len(server.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [Reply(b"[" * 100_000), Reply(b'{"choices": ' + b"9" * 5000 + b"}"), Reply({"choices": {"a": 1}}),
     fails(400, "bad \ud800 \x1b]0;title\x07 words")],
)  # fmt: skip
def test_damaged_bodies_are_unscored_with_a_printable_reason(reply: Reply) -> None:
    with serving(reply) as server:
        score = judged(server)
    assert score.value is None and score.reason.isprintable() and score.reason.encode()


def test_a_damaged_cache_is_gone_without(tmp_path: Path) -> None:
    with serving(says("0")) as server:
        judged(server, cache_folder=tmp_path)
        (file,) = tmp_path.iterdir()
        for content in (b"[" * 100_000, b'{"answer": "0", "tries": 1e999}', b'{"answer": 0, "tries": 1}'):
            file.write_bytes(content)
            assert judged(server, cache_folder=tmp_path).value == 1.0
        file.unlink()
        file.mkdir()
        assert judged(server, cache_folder=tmp_path).value == 1.0


@pytest.mark.parametrize("step", ["tempfile.mkstemp", "os.replace"])
def test_a_full_disk_under_the_cache_costs_requests_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*arguments: Any, **options: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(step, full)
    with serving(says("0")) as server:
        assert [judged(server, cache_folder=tmp_path).value for _ in range(2)] == [1.0, 1.0]
        assert len(server.requests) == 2 and not list(tmp_path.iterdir())


def test_printable_text_keeps_every_script() -> None:
    assert (
        printable("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 a\u3000b\n\t")
        == "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 a\u3000b\n\t"
    )
    assert printable("a\x1b[31mred\x1b[0m \x07 \ud800 \u202e") == r"ared \x07 \ud800 \u202e"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["choices", "message", "content", "error", "code", "type", "text", "refusal", "finish_reason",
                         "reasoning_content", "tool_calls", "detail"]), inner, max_size=4), max_leaves=12)  # fmt: skip
FINISH = st.sampled_from(["length", "stop", "max_tokens", "MAX_TOKENS", "content_filter", "abort", None])


COMPLETIONS = JSON.map(lambda value: {"choices": [{"message": {"content": value}}]})
BODIES = st.binary() | (JSON | COMPLETIONS).map(lambda value: json.dumps(value).encode())


@settings(max_examples=300, deadline=None)
@given(BODIES)
def test_any_body_is_an_answer_or_a_failure(body: bytes) -> None:
    try:
        answer = read_completion(body, {}, max_tokens=9, secret=KEY)
    except EndpointFailure as failure:
        assert str(failure).encode()
    else:
        assert parse(answer.text) is None or parse(answer.text) in (Score(0.0), Score(1.0))


@settings(max_examples=200, deadline=None)
@given(FINISH, st.one_of(st.sampled_from(["0", "-1", "Score: 0"]), st.text()))
def test_any_text_that_was_cut_has_a_problem(finish: str | None, text: str) -> None:
    body = json.dumps({"choices": [{"finish_reason": finish, "message": {"content": text}}]}).encode()
    assert bool(read_completion(body, {}, max_tokens=9, secret=KEY).problem) == (finish not in ("stop", None))


def test_a_server_that_asks_for_no_wait_is_asked_again_without_the_backoff() -> None:
    configured = EndpointSettings("http://localhost/v1", "m", first_wait=0.5)
    late = AttemptState(6, EndpointFailure("busy", status=500, wait=0.0))
    assert _wait(configured, late) <= 0.5
    assert _wait(configured, AttemptState(6, EndpointFailure("busy", status=500))) > 10


class AttemptState:
    """What tenacity knows after so many attempts, the last of which failed."""

    def __init__(self, attempt_number: int, failure: EndpointFailure) -> None:
        self.attempt_number, self.outcome = attempt_number, self
        self.exception = lambda: failure
