"""Where and how a judge at an endpoint is asked, checked before the first question."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from milr.outside.text import looks_like_key
from milr.types import UsageError

TOKENS_FIELDS = ("max_tokens", "max_completion_tokens")
MAX_EXTRA = 10_000  # characters of --judge-extra
MAX_EXTRA_DEPTH = 20  # brackets within brackets
_OURS = ("model", "messages", "stream")  # fields of the request that no extra field may replace
_WITH_OPTIONS = {"temperature": "--judge-temperature", **dict.fromkeys(TOKENS_FIELDS, "--judge-tokens")}
_SECRET_WORDS = {"secret", "password", "passwd", "pwd", "credential", "credentials", "authorization", "auth", "bearer",
                 "sig", "signature", "cookie", "apikey", "accesskey"}  # fmt: skip
_OWNERS = {"", "api", "access", "auth", "private", "subscription", "account", "bearer", "refresh", "id", "session",
           "x", "client", "service", "user"}  # fmt: skip


@dataclass(frozen=True)
class EndpointSettings:
    """Where and how to ask.

    `max_tokens` (per answer) leaves room for models that reason before they answer; `tokens_field` is the name under
    which it is sent. `extra` holds more fields of the request, and null leaves one of ours out. At most `concurrency`
    requests are open at once. `max_attempts` counts requests for one answer, `max_answers` answers until one can be
    read. `timeout` is in seconds for one request. Between attempts we wait `first_wait` seconds, then twice as long
    each time, and at most `longest_wait`, also where the server asks for more; a server that is busy (HTTP 429) gets
    `patience` seconds of waiting in all. `max_calls` caps the requests of this process (None: no cap). `cache_folder`
    stores answers (None: no). `first_token`: what is read of an answer is what its first token could have been.
    `system` is a turn before each question ("": none).
    """

    base_url: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    max_tokens: int = 4096
    temperature: float = 0.0
    tokens_field: str = "max_tokens"
    extra: dict[str, Any] = field(default_factory=dict)
    concurrency: int = 8
    max_attempts: int = 4
    max_answers: int = 3
    timeout: float = 300.0
    max_calls: int | None = None
    cache_folder: Path | None = None
    first_wait: float = 1.0
    longest_wait: float = 600.0
    patience: float = 600.0
    first_token: bool = False
    system: str = ""

    def __post_init__(self) -> None:
        _check_address(self.base_url)
        if not self.model:
            raise UsageError("the judge's model has no name; give the name its endpoint knows it by.")
        for name in ("max_tokens", "concurrency", "max_attempts", "max_answers"):
            if getattr(self, name) < 1:
                raise UsageError(f"the judge's {name} must be at least 1, not {getattr(self, name)}.")
        for name in ("timeout", "temperature", "first_wait", "longest_wait", "patience"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise UsageError(f"the judge's {name} must be a number of at least 0, not {getattr(self, name)}.")
        if self.timeout == 0 or (self.max_calls or 0) < 0:
            raise UsageError("the judge's timeout must be above 0, and its cap on calls at least 0.")
        if self.tokens_field not in TOKENS_FIELDS:
            raise UsageError(f"the judge's tokens field is {' or '.join(TOKENS_FIELDS)}, not {self.tokens_field!r}.")
        check_extra(self.extra)


def parse_extra(text: str | None) -> dict[str, Any]:
    """The fields in the JSON object of --judge-extra; {} for None. UsageError for anything else."""
    if text is None:
        return {}
    if len(text) > MAX_EXTRA:
        raise UsageError(f"--judge-extra has {len(text)} characters, and {MAX_EXTRA} are read: shorten it.")
    try:
        extra = json.loads(text)
    except (ValueError, RecursionError):
        extra = None
    if not isinstance(extra, dict):
        raise UsageError("--judge-extra is no JSON object; write one such as '{\"top_p\": 0.9}'.")
    return extra


def check_extra(extra: dict[str, Any]) -> None:
    """UsageError for fields that are ours to set, that hold a secret, or that are nested too deep."""
    for name in extra:
        if name in _OURS:
            raise UsageError(f"--judge-extra cannot set {name}: milr sends its own.")
        if name in _WITH_OPTIONS and extra[name] is not None:
            raise UsageError(f"--judge-extra cannot set {name}, only leave it out with null: use "
                             f"{_WITH_OPTIONS[name]}.")  # fmt: skip
    for name, value in _walk(extra):
        if is_secret_name(name) or (isinstance(value, str) and looks_like_key(value)):
            raise UsageError(f"--judge-extra is stored with the run, and its field {name[:40]!r} looks like a secret: "
                             "put keys into the environment variable JUDGE_API_KEY.")  # fmt: skip


def _walk(value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Every value in nested JSON with the name of the field that holds it."""
    if depth > MAX_EXTRA_DEPTH:
        raise UsageError(f"--judge-extra is nested more than {MAX_EXTRA_DEPTH} deep: make it flatter.")
    yield name, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _walk(inner, str(key), depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner, name, depth + 1)


def is_secret_name(name: str) -> bool:
    """Whether a field or parameter of this name holds a secret: api_key, accessToken, password; not max_tokens."""
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name).replace("-", " ").replace("_", " ").lower().split()
    if _SECRET_WORDS & set(words):
        return True
    return bool(words) and words[-1] in ("key", "token") and ({*words[:-1]} or {""}) <= _OWNERS


def _check_address(base_url: str) -> None:
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        usable = False
    if not usable:
        raise UsageError("the judge's address is not an HTTP address; write one such as http://localhost:8000/v1.")
    query = parse_qsl(parts.query, keep_blank_values=True)
    if "@" in parts.netloc or looks_like_key(base_url) or any(is_secret_name(name) for name, _ in query):
        raise UsageError("the judge's address holds a password or a key; put the key into the environment instead.")
