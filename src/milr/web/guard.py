"""What stands before every request: who may ask, from where, how much; and the headers of every answer.

A page on another site must not use a server on this machine: the Host header has to name this machine (a name that an
attacker points here does not), the Origin has to be the server's own, and bodies are JSON, which no form sends.
"""

from __future__ import annotations

import hmac
import secrets
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from milr.web.errors import ApiError
from milr.web.limits import ServerSettings
from milr.web.metrics import Metrics

LOOPBACK = ("localhost", "127.0.0.1", "::1")
OPEN = ("/", "/healthz", "/favicon.ico")  # and /static: what is asked for no key
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")  # fmt: skip
HEADERS = {"content-security-policy": POLICY, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer",
           "cross-origin-resource-policy": "same-origin", "cross-origin-opener-policy": "same-origin"}  # fmt: skip
COUNTED = ("/", "/healthz", "/metrics", "/v1/models", "/v1/images/generations", "/v1/chat/completions", "/api/menu",
           "/api/searches", "/api/runs", "/static", "/mcp")  # fmt: skip


class Guard:
    """Checks a request before the application sees it, and names every answer by an `x-request-id`."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = next((known for known in COUNTED[::-1] if _is_under(scope["path"], known)), "other")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers["x-request-id"] = f"req_{secrets.token_hex(12)}"
                self._metrics.requests.labels(path, message["status"]).inc()
            await send(message)

        try:
            self._check(scope)
        except ApiError as error:
            await error.response()(scope, receive, send_with_headers)
            return
        await self._app(scope, _bounded(receive, self._settings.limits.body), send_with_headers)

    def _check(self, scope: Scope) -> None:
        """ApiError for a request that is not served."""
        headers = Headers(scope=scope)
        self._check_origin(scope, headers)
        if self._settings.key and not self._is_open(scope["path"], headers):
            given = headers.get("authorization", "").removeprefix("Bearer ").strip()
            if not hmac.compare_digest(given.encode(), self._settings.key.encode()):
                raise ApiError("this server wants its API key: send the header Authorization: Bearer KEY.", status=401,
                               code="invalid_api_key")  # fmt: skip
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()) or int(length) > self._settings.limits.body:
            raise _too_large(self._settings.limits.body)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if scope["method"] == "POST" and kind != "application/json":
            raise ApiError("send JSON, with the header content-type: application/json.", status=415,
                           code="unsupported_media_type")  # fmt: skip

    def _is_open(self, path: str, headers: Headers) -> bool:
        """Whether a request needs no key; where reading is open, the tools that work ask for it themselves."""
        reading = path == "/mcp" and self._settings.open_reading and "authorization" not in headers
        return path in OPEN or _is_under(path, "/static") or reading

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """ApiError where another site asks, or where this machine is called by a name that is not its own."""
        host = headers.get("host", "")
        if self._settings.loopback and _name_of(f"//{host}") not in (*LOOPBACK, self._settings.host):
            raise ApiError("this server answers to localhost and 127.0.0.1 only.", status=403, code="wrong_host")
        origin = headers.get("origin")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            raise ApiError("this server answers no page of another site.", status=403, code="wrong_origin")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not _is_visit(scope, headers):
            raise ApiError("this server answers no page of another site.", status=403, code="wrong_origin")


def _is_visit(scope: Scope, headers: Headers) -> bool:
    """Whether somebody follows a link to the page itself, which is all that another site may do."""
    return scope["path"] == "/" and headers.get("sec-fetch-mode") == "navigate"


def _is_under(path: str, known: str) -> bool:
    return path == known or (known != "/" and path.startswith(f"{known}/"))


def _name_of(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _bounded(receive: Receive, limit: int) -> Receive:
    """`receive`, which raises ApiError where a body of unknown length goes beyond the limit."""
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise _too_large(limit)
        return message

    return bounded


def _too_large(limit: int) -> ApiError:
    return ApiError(f"a body has at most {limit:,} bytes here.", status=413, code="body_too_large")
