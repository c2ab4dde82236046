"""A real HTTP server on loopback that speaks OpenAI's chat protocol, and misbehaves as it is told."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

CUT, SILENT = "cut", "silent"  # half a body; the connection closed without a word


class Reply:
    """One answer: an HTTP status, a body (bytes as they are, else JSON), headers, and seconds to wait before it."""

    def __init__(self, body: Any, status: int = 200, headers: dict[str, str] | None = None, after: float = 0) -> None:
        self.content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.status, self.headers, self.after = status, headers or {}, after


Script = Reply | str | Callable[[dict[str, Any]], Reply]


def says(text: str | None, after: float = 0) -> Reply:
    """A completion with one choice."""
    message = {"role": "assistant", "content": text}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    return Reply({"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": choices}, after=after)


def could_say(tokens: dict[str, float]) -> Reply:
    """A completion of one token, the likeliest of `tokens`, with the log-probability of each."""
    top = [{"token": token, "logprob": math.log(p), "bytes": None} for token, p in tokens.items()]
    first = max(top, key=lambda token: token["logprob"])
    choices = [{"index": 0, "finish_reason": "length", "logprobs": {"content": [{**first, "top_logprobs": top}]},
                "message": {"role": "assistant", "content": first["token"]}}]  # fmt: skip
    return Reply({"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": choices})


def fails(status: int, message: str = "no", **headers: str) -> Reply:
    """An error in OpenAI's form."""
    return Reply({"error": {"message": message}}, status, {name.replace("_", "-"): of for name, of in headers.items()})


class ChatServer(ThreadingHTTPServer):
    """Gives `script` one after the other, the last one for ever; keeps what it was sent.

    A function in the script makes its reply of the request.
    """

    daemon_threads = True

    def __init__(self, script: tuple[Script, ...]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.lock, self.now, self.max_concurrent = threading.Lock(), 0, 0

    @property
    def url(self) -> str:
        """The base address of its API."""
        return f"http://127.0.0.1:{self.server_port}/v1"

    def next(self, request: dict[str, Any], key: str) -> Reply | str:
        """Note a request, and say what it gets."""
        with self.lock:
            self.requests.append(request)
            self.keys.append(key)
            reply = self.script[min(len(self.requests), len(self.script)) - 1]
        return reply(request) if callable(reply) else reply

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is no error of the server's."""


@contextmanager
def serving(*script: Script) -> Iterator[ChatServer]:
    """A server for the length of a test."""
    with ChatServer(script) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def on_loopback(monkeypatch: pytest.MonkeyPatch, no_certificates: Path) -> None:
    """No proxy between us and the server, and no certificates to read for every client (a tenth of a second each)."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "ssl_cert_file"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(no_certificates))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ChatServer

    def do_POST(self) -> None:
        """Chat completions, at their one path."""
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        reply = self.server.next(request, self.headers.get("authorization", ""))
        self.server.paths.append(self.path)
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        if self.path.partition("?")[0] != "/v1/chat/completions":
            reply = fails(404, "no such path")
        self._busy(1)
        try:
            time.sleep(0 if isinstance(reply, str) else reply.after)
        finally:
            self._busy(-1)
        if reply == SILENT:
            self.close_connection = True
        else:
            self._send(says("0") if reply == CUT else reply, cut=reply == CUT)

    def _send(self, reply: Reply | str, *, cut: bool) -> None:
        assert isinstance(reply, Reply)
        headers = {"content-type": "application/json", "content-length": str(len(reply.content))} | reply.headers
        self.send_response(reply.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.content[:20] if cut else reply.content)
        self.close_connection = cut

    def _busy(self, change: int) -> None:
        with self.server.lock:
            self.server.now += change
            self.server.max_concurrent = max(self.server.max_concurrent, self.server.now)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing on the terminal."""
