"""A judge over HTTP that answers late, wrong, endlessly or never; no bad answer may become a score."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from tests.faults.process import Command, run
from tests.faults.runs import BrokenRun
from tests.faults.tally import Tally

from chat_server import CUT, SILENT, Reply, Script, fails, says, serving
from milr.rewards.endpoint.settings import EndpointSettings
from milr.runs.store import RunStore

KEY = "sk-test-0123456789abcdefghijklmnopqrstuvwxyz"


def _choice(**fields: Any) -> Reply:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "0"}} | fields
    return Reply({"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]})


def _bad_replies(moment: random.Random) -> list[tuple[str, Script]]:
    """Answers that hold no verdict."""
    message = {"role": "assistant", "content": None}
    return [
        ("random bytes", Reply(moment.randbytes(moment.randrange(1, 3000)))), ("half a body", CUT),
        ("a closed connection", SILENT), ("an empty body", Reply(b"")), ("not JSON", Reply(b"<html>busy</html>")),
        ("deep JSON", Reply(b"[" * 100_000)), ("a long number", Reply(b"1" * 5_000)),
        ("a large body", Reply(b"x" * 20_000_000)), ("no choices", Reply({"choices": []})),
        ("choices that are no list", Reply({"choices": {"a": 1}})), ("null", Reply(b"null")),
        ("an error with status 200", Reply({"error": {"message": f"upstream {KEY} overloaded", "code": 502}})),
        ("401 that quotes the key", fails(401, f"bad key {KEY * 4}")), ("403", fails(403)), ("404", fails(404)),
        ("429", fails(429, retry_after="0.05")), ("500", fails(500)), ("503", fails(503, "\x1b[2J\ud83d busy")),
        ("cut while answering", _choice(finish_reason="length")),
        ("cut while reasoning", _choice(finish_reason="length", message=message | {"reasoning_content": "0 " * 200})),
        ("a refusal", _choice(message=message | {"refusal": "I will not"})),
        ("filtered", _choice(finish_reason="content_filter", message=message)),
        ("a tool call", _choice(finish_reason="tool_calls", message=message | {"tool_calls": []})),
        ("no verdict", says("The picture shows 0 blue circles, so it does not fulfil the prompt.")),
        ("a number of another kind", says("There are 3 of 4 circles.")), ("an empty answer", says("")),
        ("a lone surrogate", Reply(b'{"choices":[{"message":{"content":"\\ud800"}}]}')),
        ("a huge number", says("1" + "0" * 400)), ("NaN", says("NaN")),
    ]  # fmt: skip


def bad_judges(tally: Tally, broken: BrokenRun, moment: random.Random, rounds: int) -> None:
    """Each bad answer alone, then mixed with good ones; then a good judge: the same command asks again."""
    for number in range(rounds):
        for name, reply in _bad_replies(moment):
            always = number % 2 == 0
            script: list[Script] = [reply] if always else [_now_and_then(reply, moment)]
            _run_with(tally, broken, f"judge: {'only' if always else 'sometimes'} bad answers", name, script, always)


def _now_and_then(reply: Script, moment: random.Random) -> Callable[[dict[str, Any]], Reply]:
    def answer(request: dict[str, Any]) -> Reply:
        bad = isinstance(reply, Reply) and moment.random() < 0.4
        return reply if bad else says("0")  # type: ignore[return-value]

    return answer


def _run_with(tally: Tally, broken: BrokenRun, kind: str, name: str, script: list[Script], always: bool) -> None:
    out = broken.folder / f"judged-{tally.of(kind).tried}-{kind.split()[1]}"
    environment = {"JUDGE_API_KEY": KEY, "OPENAI_API_KEY": KEY, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    with serving(*script) as server:
        arguments = ["generate", "a red star", "--steps", "2", "--no-stop", "--reward", "judge", "--judge-url",
                     server.url, "--judge-model", "m", "--out", str(out)]  # fmt: skip
        ended = run(Command(arguments, broken.folder, environment=environment, setup=_be_impatient))
        problem = _leaks(out, ended.out + ended.err)
        if always and any(step.score is not None for record in _records(out) for step in record.steps):
            problem = "a bad answer became a score"
        tally.add(kind, ended, problem=problem, detail=name)
        server.script = (says("0"),)
        again = run(Command(arguments, broken.folder, environment=environment))
        unscored = [record for record in _records(out) if record.stop == "judge_failed"]
        tally.add("judge: good again", again, detail=name,
                  problem="still judge_failed" if unscored or again.code else "")  # fmt: skip


def _be_impatient() -> None:
    """Wait for a busy judge for seconds instead of ten minutes."""
    initialise = EndpointSettings.__init__
    patient = {"patience": 2.0}
    EndpointSettings.__init__ = lambda self, *values, **named: initialise(  # type: ignore[method-assign]
        self, *values, **{**patient, **named}
    )


def _records(out: Any) -> list[Any]:
    return RunStore(out).records() if (out / "run.json").exists() else []


def _leaks(out: Any, printed: str) -> str:
    """Whether a part of the key stands anywhere."""
    parts = [KEY[start : start + 12] for start in range(0, len(KEY) - 12)]
    for text in [printed, *(path.read_text(errors="replace") for path in out.rglob("*.json"))]:
        if any(part in text for part in parts):
            return f"a part of the key is written: {json.dumps(text[:200])}"
    return ""
