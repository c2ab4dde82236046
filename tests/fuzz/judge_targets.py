"""What judges and their servers answer: bodies, errors, headers, words, stored answers; and what is sent to them."""

from __future__ import annotations

import json
import time
from pathlib import Path

from milr.outside.text import clean
from milr.rewards.endpoint.answer_cache import AnswerCache
from milr.rewards.endpoint.completion import read_completion
from milr.rewards.endpoint.failures import EndpointFailure, failure_in
from milr.rewards.endpoint.first_token import score_of
from milr.rewards.endpoint.settings import EndpointSettings, parse_extra
from milr.rewards.endpoint.waiting import requested_wait
from milr.rules import dpg_bench, unigenbench
from milr.rules.geneval2 import YES
from milr.rules.judgements import final_score, json_verdict, without_reasoning, zero_or_minus_one
from milr.rules.wise import parse_marks, parse_verdict

SECRET = "q" + "a1b2c3d4" * 8
MAX_SECONDS = 2.0  # that a long answer may take; whatever grows with the square of its length takes minutes
LONG = 200_000  # characters


def completion(content: bytes, folder: Path) -> None:
    """The body of a chat completion: an answer or a failure, either of which can be told."""
    for first_token in (False, True):
        try:
            answer = read_completion(content, {}, max_tokens=9, secret=SECRET, first_token=first_token)
        except EndpointFailure as failure:
            _tell(failure)
        else:
            (answer.text + answer.problem).encode()
            score_of(answer.text, YES)


def server_error(content: bytes, folder: Path) -> None:
    """The error of a server, and its headers: {"headers": {...}, "error": ...}."""
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        fields = {"error": content.decode(errors="replace")}
    fields = fields if isinstance(fields, dict) else {"error": fields}
    headers = fields.get("headers")
    headers = {str(name): str(value) for name, value in headers.items()} if isinstance(headers, dict) else {}
    _tell(failure_in(fields.get("error"), headers, status=429, secret=SECRET))
    _tell(failure_in(fields.get("error"), {}, secret=SECRET))
    wait = requested_wait(headers, fields.get("error"))
    assert wait is None or wait >= 0


def _tell(failure: EndpointFailure) -> None:
    str(failure).encode()
    assert failure.wait is None or failure.wait >= 0
    assert isinstance(failure.advice("KEY", 9), str)
    assert [failure.busy, failure.transient, failure.no_credit, failure.too_long]


def answer(content: bytes, folder: Path) -> None:
    """A judge's words, by every parser."""
    _parse(content.decode(errors="replace"))


def long_answer(content: bytes, folder: Path) -> None:
    """A judge that repeats itself without end: `before`, NUL, what it repeats, NUL, `after`."""
    before, _, rest = content.decode(errors="replace").partition("\0")
    unit, _, after = rest.partition("\0")
    text = before + unit * (LONG // max(1, len(unit))) + after
    began = time.process_time()
    _parse(text)
    clean(text, 400, secrets=(SECRET,))
    assert time.process_time() - began < MAX_SECONDS, "this answer takes long to read"


def _parse(text: str) -> None:
    text = without_reasoning(text)
    for parse in (json_verdict, zero_or_minus_one, final_score):
        value = parse(text)
        assert value is None or 0 <= value <= 1
    assert parse_verdict(text) in (None, 0, 1) and dpg_bench.parse_yes_no(text) in (None, 0.0, 1.0)
    assert unigenbench.parse_marks(text, 2) in (None, [0, 0], [0, 1], [1, 0], [1, 1])
    assert (score := score_of(text, YES)) is None or 0 <= (score.value or 0.0) <= 1
    marks = parse_marks(text)
    assert marks is None or not marks.in_range or 0 <= marks.wiscore <= 1


def judge_settings(content: bytes, folder: Path) -> None:
    """--judge-extra, and the address of an endpoint in its first line."""
    address, _, extra = content.decode(errors="surrogateescape").partition("\n")
    EndpointSettings(address, "m", extra=parse_extra(extra))


def cached_answer(content: bytes, folder: Path) -> None:
    """A stored answer: it is taken or asked for again."""
    (folder / "x.json").write_bytes(content)
    stored = AnswerCache(folder).load("x")
    assert stored is None or (isinstance(stored.answer, str) and stored.tries >= 1)


_MESSAGES = (
    ("stop", {"content": "0"}), ("length", {"content": [{"type": "text", "text": "Final Score: 4"}]}),
    (None, {"content": None, "refusal": "no"}), ("odd", {"content": {"Score": 0}}),
    ("tool_calls", {"content": "", "reasoning_content": "I see", "tool_calls": [{"id": "1"}]}),
)  # fmt: skip
_BODIES = tuple(
    json.dumps({"choices": [{"finish_reason": finish, "message": message}]}).encode() for finish, message in _MESSAGES
)
_TOKENS = json.dumps({"choices": [{"message": {"content": "Y"}, "logprobs": {"content": [{"top_logprobs": [
    {"token": "Yes", "logprob": -0.1}, {"token": "No", "logprob": -2}]}]}}]}).encode()  # fmt: skip
_ERRORS = tuple(json.dumps(error).encode() for error in (
    {"headers": {"retry-after": "3", "x-ratelimit-reset-requests": "6m0s"}, "error": {"message": "busy", "code": 429}},
    {"headers": {"retry-after-ms": "20"}, "error": {"error": {"message": "context length", "type": "x", "param": "p"}}},
    {"headers": {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, "error": "try again in 1m12s"},
    {"error": {"details": [{"retryDelay": "37s"}], "status": "RESOURCE_EXHAUSTED", "detail": "no"}}))  # fmt: skip
_ANSWERS = (b'{"Thought": "a", "Score": 0}', b"```json\n{\"Score\": \"-1.0\"}\n```", b"**Score:** -1", b"0",
            b"Final Score: 4.5/5", b"4 / 5\n", b"**Consistency:** 2\nRealism: 1\n*Aesthetic Quality* 2", b"2\n1\n0\n",
            b"<think>0</think>\nmy verdict is -1.", b"Score: 1", b"Yes, it is", b'[["Yes", -0.5], ["No", -1]]',
            b"<analysis>['a', \"b\"]</analysis><score>[1, 0]</score>")  # fmt: skip
_LONG = (b"consistency\0 \0x", b"score\0()\0x", b"\0{\"a\":\0", b"final\0 \0", b"\0-1.\0x", b"\0score: \0",
         b"\0eyJ-\0", b"\0\x1b]\0", b"0\0*\0x", b"\0final score: 5\0x", b"\0<score>\0", b"\0Score:\0",
         b"\0Bearer \0")  # fmt: skip
TARGETS = (
    (completion, (*_BODIES, _TOKENS, b'{"error": {"code": 502, "message": "busy"}}', b'{"choices": []}'), True),
    (server_error, _ERRORS, True),
    (answer, _ANSWERS, False),
    (long_answer, _LONG, False),
    (judge_settings, (b'http://localhost:8000/v1\n{"top_p": 0.9, "temperature": null}',
                      b'https://a.b/v1?api-version=1\n{"a": {"b": [1]}}'), False),
    (cached_answer, (b'{"model": "m", "answer": "0", "tries": 1}',), True),
)  # fmt: skip
