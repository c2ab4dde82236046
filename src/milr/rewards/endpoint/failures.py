"""What the failures of an endpoint mean: whether to ask again, how long to wait, and what to tell the user."""

from __future__ import annotations

_TRANSIENT_STATUSES = (408, 429)  # and everything from 500 on
_ADVICE = {
    401: "put its key into the environment variable {variable}",
    403: "check that the key in {variable} may use this model",
    404: "check its address and the model's name",
}


def is_transient(error: BaseException) -> bool:
    """Whether asking again may help: HTTP 408, 429 and 5xx, time-outs and broken connections."""
    from openai import APIConnectionError, APIStatusError

    if isinstance(error, APIStatusError):
        return error.status_code in _TRANSIENT_STATUSES or error.status_code >= 500
    return isinstance(error, APIConnectionError | TimeoutError)


def retry_after(error: BaseException | None) -> float | None:
    """The seconds for which the server asks us to wait; None where it does not say so as a number."""
    response = getattr(error, "response", None)
    header = response.headers.get("retry-after", "") if response is not None else ""
    return float(header) if header.isdecimal() else None


def describe(error: Exception, timeout: float) -> str:
    """What went wrong, in a few words; `timeout` is that of one request, in seconds."""
    from openai import APIConnectionError, APIStatusError

    if isinstance(error, APIStatusError):
        message = error.body.get("message") if isinstance(error.body, dict) else None
        return f"HTTP {error.status_code}" + (f": {' '.join(str(message).split())[:200]}" if message else "")
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(error, APIConnectionError):
        return f"no connection: {error.__cause__ or error}".rstrip(": ")
    return "what it sent is not a chat completion"


def advice(error: Exception, variable: str) -> str:
    """What the user can do about it; `variable` is the environment variable that holds the key."""
    if is_transient(error):
        return "check that it runs"
    status = getattr(error, "status_code", None)
    if status is None:
        return "check that its address is that of a chat endpoint (most end in /v1)"
    return _ADVICE.get(status, "choose a model that takes pictures and these settings").format(variable=variable)
