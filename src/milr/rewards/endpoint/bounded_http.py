"""OpenAI's HTTP client with a limit on what a server may send: the body is streamed, and given up at the limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openai import DefaultAsyncHttpxClient

from milr.rewards.endpoint.failures import EndpointFailure

if TYPE_CHECKING:
    from httpx2 import Request, Response

MAX_BODY = 4 * 2**20  # bytes, unpacked
_ENCODINGS = ("", "identity", "gzip", "deflate")  # of which 64 KiB, what is read at once, unpack to 64 MiB at most


class BoundedHttpClient(DefaultAsyncHttpxClient):
    """Responses come back read; EndpointFailure for one of more than MAX_BODY bytes."""

    async def send(self, request: Request, **settings: Any) -> Response:
        """Send a request and read its response, which OpenAI's client would otherwise read without a limit."""
        request.headers["accept-encoding"] = "gzip, deflate"
        response = await super().send(request, **{**settings, "stream": True})
        try:
            body = await _read(response)
        finally:
            await response.aclose()
        headers = [(name, value) for name, value in response.headers.multi_items()
                   if name.lower() not in ("content-encoding", "content-length", "transfer-encoding")]  # fmt: skip
        return type(response)(response.status_code, headers=headers, content=body, request=response.request)


async def _read(response: Response) -> bytes:
    if response.headers.get("content-encoding", "").lower() not in _ENCODINGS:
        raise EndpointFailure("its answer is packed in a way that was not asked for")
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_BODY:
            raise EndpointFailure(f"it sent more than {MAX_BODY // 2**20} MiB")
    return bytes(body)
