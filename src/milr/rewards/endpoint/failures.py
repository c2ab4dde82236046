"""What the failures of an endpoint mean: whether to ask again, and what to tell the user."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from milr.outside.text import clean
from milr.rewards.endpoint.waiting import requested_wait

MAX_QUOTE = 400  # characters of a server's words that are told
BUSY_STATUSES = (429, 529)
_TRANSIENT_STATUSES = (408, 409, 425)  # and everything from 500 on
_NO_CREDIT_CODES = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "insufficient_balance",
                    "insufficient_credits")  # fmt: skip
_CODES = {"rate_limit_exceeded": 429, "rate_limit_error": 429, "resource_exhausted": 429, "overloaded": 529,
          "overloaded_error": 529, "unavailable": 503, "server_error": 500, "internal_error": 500,
          "internal_server_error": 500, "api_error": 500, "timeout": 408, "invalid_api_key": 401,
          "authentication_error": 401, "permission_error": 403, "model_not_found": 404, "not_found_error": 404,
          "invalid_request_error": 400}  # fmt: skip
_CONTEXT = re.compile(r"context[ _-]?(?:length|window|size)|maximum context|max_model_len|maximum model length"
                      r"|too (?:large|long|many tokens)|at most \d+ (?:completion |output )?tokens"
                      r"|exceeds? (?:the )?(?:available )?(?:context|max)", re.IGNORECASE)  # fmt: skip
_ADVICE = {
    401: "put its key into the environment variable {variable}",
    402: "the account has no credit: add some, or choose another judge",
    403: "check that the key in {variable} may use this model",
    404: "check its address and the model's name",
    413: "the request is too large for it: choose a model that takes larger pictures",
}


class EndpointFailure(Exception):
    """An endpoint that gave no answer.

    `str(failure)` says what went wrong in a few words, `message` is the server's part of it. `status` is the HTTP
    status, also of an error inside a response of status 200 (None: there is none), `code` and `param` are the server's.
    `wait` is for how many seconds it asks us to wait (None: it does not say). `connection`: no response came.
    """

    def __init__(self, message: str, *, status: int | None = None, code: str = "", param: str = "",
                 wait: float | None = None, connection: bool = False) -> None:  # fmt: skip
        super().__init__(f"HTTP {status}: {message}".rstrip(": ") if status else message)
        self.message, self.status, self.code, self.param = message, status, code, param
        self.wait, self.connection = wait, connection

    @property
    def no_credit(self) -> bool:
        """Whether the account cannot pay, which no waiting mends."""
        return self.status == 402 or self.code.lower() in _NO_CREDIT_CODES

    @property
    def busy(self) -> bool:
        """Whether the server asks for patience: too many requests, or overloaded."""
        told = self.status == 503 and self.wait is not None
        return (self.status in BUSY_STATUSES or told) and not self.no_credit

    @property
    def transient(self) -> bool:
        """Whether asking again soon may help: a time-out, a broken connection, HTTP 5xx."""
        repeatable = self.status is not None and (self.status in _TRANSIENT_STATUSES or self.status >= 500)
        return (repeatable or self.connection) and not self.busy

    @property
    def too_long(self) -> bool:
        """Whether question and answer together do not fit into the model's context."""
        return self.status in (400, 413, 422) and bool(self.code == "context_length_exceeded"
                                                       or _CONTEXT.search(self.message))  # fmt: skip

    def advice(self, variable: str, max_tokens: int) -> str:
        """What the user can do; `variable` holds the key, `max_tokens` is the limit of an answer that was asked for."""
        if self.no_credit:
            return _ADVICE[402]
        if self.busy:
            return "run the same command again later, or with a smaller --judge-concurrency"
        if self.transient:
            return "check that it runs"
        if self.too_long:
            return f"choose fewer --judge-tokens ({max_tokens} now), or a model with a larger context"
        if self.status is None:
            return "check that its address is that of a chat endpoint (most end in /v1)"
        advice = _ADVICE.get(self.status, "choose a model that takes pictures and these settings")
        return advice.format(variable=variable)


def failure_of(error: Exception, *, timeout: float, secret: str) -> EndpointFailure:
    """The failure that an exception of OpenAI's client means; `timeout` is that of one request, in seconds."""
    from openai import APIConnectionError, APIStatusError

    if isinstance(error, EndpointFailure):
        return error
    if isinstance(error, APIStatusError):
        return failure_in(error.body, error.response.headers, status=error.status_code, secret=secret)
    if isinstance(error, TimeoutError):
        return EndpointFailure(f"no answer within {timeout:g} s", connection=True)
    if isinstance(error, APIConnectionError):
        if isinstance(error.__cause__, EndpointFailure):
            return error.__cause__
        cause = _quoted(str(error.__cause__ or error), secret)
        return EndpointFailure(f"no connection: {cause}".rstrip(": "), connection=True)
    return EndpointFailure("what it sent is not a chat completion")


def failure_in(error: Any, headers: Mapping[str, str], *, status: int | None = None, secret: str) -> EndpointFailure:
    """The failure that an error object of a server describes; without `status` its code counts as one."""
    fields = error if isinstance(error, dict) else {}
    if isinstance(inner := fields.get("error"), dict):
        fields = inner
    words = fields.get("message") or fields.get("detail") or ("" if fields else error)
    message = words if isinstance(words, str) else "" if words is None else json.dumps(words)
    codes = [str(fields[name]) for name in ("code", "type", "status") if isinstance(fields.get(name), str | int)]
    code = next((code for code in codes if code.lower() in (*_NO_CREDIT_CODES, "context_length_exceeded")), "")
    return EndpointFailure(
        _quoted(message, secret), status=status or _status_of(codes), code=code or next(iter(codes), ""),
        param=str(fields.get("param") or ""), wait=requested_wait(headers, error),
    )  # fmt: skip


def _status_of(codes: list[str]) -> int | None:
    """The HTTP status that a server's codes stand for; None where they stand for none."""
    statuses = (int(code) if re.fullmatch("[45][0-9]{2}", code) else _CODES.get(code.lower()) for code in codes)
    return next((status for status in statuses if status), None)


def _quoted(text: str, secret: str) -> str:
    return clean(" ".join(clean(text, 10 * MAX_QUOTE, secrets=(secret,)).split()), MAX_QUOTE, secrets=(secret,))
