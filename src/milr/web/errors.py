"""Errors as OpenAI's API tells them: {"error": {"message", "type", "param", "code"}} with a fitting status."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from starlette.responses import JSONResponse

from milr.types import JudgeError, MilrError

TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
RETRY_SECONDS = 5  # what a client is told where the queue is full


class ApiError(Exception):
    """An answer that is an error; `param` is the field that is wrong, `code` a word for programs."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code

    def body(self) -> dict[str, Any]:
        """The JSON of the answer."""
        kind = TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The answer."""
        headers = {401: {"www-authenticate": "Bearer"}, 429: {"retry-after": str(RETRY_SECONDS)}}
        return JSONResponse(self.body(), self.status, headers.get(self.status))


def api_error(error: BaseException) -> ApiError:
    """Any error as one that a client may see; what nobody expected is told without its words."""
    match error:
        case ApiError():
            return error
        case ValidationError():
            return _of_validation(error)
        case JudgeError():
            return ApiError(str(error), status=502, code="judge_failed")
        case MilrError():
            return ApiError(str(error), status=400 if error.exit_code == 2 else 500, code="refused")
    return ApiError("the server failed; its log says why.", status=500, code="internal_error")


def _of_validation(error: ValidationError) -> ApiError:
    """The first thing that is wrong with a body, with the path of its field."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    param = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return ApiError(f"unknown field: {param[:80]}.", param=param[:80], code="unknown_parameter")
    message = str(first["msg"]).removeprefix("Value error, ")
    return ApiError(f"{param or 'the body'}: {message}.".replace("..", "."), param=param or None, code="invalid_value")
