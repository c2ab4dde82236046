"""The application: routes, errors in OpenAI's form, and the guard before them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from milr.types import MilrError
from milr.web import page_api
from milr.web.chat_api import complete_chat
from milr.web.errors import ApiError, api_error
from milr.web.guard import Guard
from milr.web.images_api import generate_images
from milr.web.limits import ServerSettings
from milr.web.metrics import CONTENT_TYPE
from milr.web.served import Served
from milr.workflows.serving import ServingSession

STATIC = Path(__file__).with_name("static")
GONE = 499  # nginx's status of a request whose client closed the connection; nobody reads it


def make_app(session: ServingSession, settings: ServerSettings) -> Starlette:
    """The application of one session; its lifespan gives up what goes on when the server closes."""
    served = Served(session, settings)
    mcp = _mcp(served) if settings.mcp else None

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with mcp.router.lifespan_context(mcp) if mcp else nullcontext():
            yield
        await served.searches.close()

    handled = (ApiError, MilrError, ValidationError, Exception)
    app = Starlette(
        routes=[*_routes(), *(mcp.routes if mcp else [])], lifespan=lifespan,
        middleware=[Middleware(Guard, settings=settings, metrics=served.metrics)],
        exception_handlers={**dict.fromkeys(handled, _on_error), HTTPException: _on_http_error,
                            ClientDisconnect: _on_disconnect},
    )  # fmt: skip
    app.state.served = served
    app.state.started = int(time.time())
    return app


def _mcp(served: Served) -> Starlette:
    """The application that serves tools at /mcp; the guard stands before it, too."""
    from mcp.server.transport_security import TransportSecuritySettings

    from milr.web.mcp_server import make_mcp_server

    checked_by_the_guard = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    return make_mcp_server(served).streamable_http_app(
        stateless_http=True, max_request_body_size=served.limits.body,
        transport_security=checked_by_the_guard,
    )  # fmt: skip


def _routes() -> list[Route | Mount]:
    run = "/api/runs/{run}"
    return [
        Route("/", _page),
        Route("/healthz", _health),
        Route("/metrics", _metrics),
        Route("/v1/models", _models),
        Route("/v1/images/generations", generate_images, methods=["POST"]),
        Route("/v1/chat/completions", complete_chat, methods=["POST"]),
        Route("/api/menu", page_api.menu),
        Route("/api/searches", page_api.search, methods=["POST"]),
        Route("/api/runs", page_api.list_runs),
        Route(run, page_api.show_run),
        Route(f"{run}/stop", page_api.stop, methods=["POST"]),
        Route(f"{run}/resume", page_api.resume, methods=["POST"]),
        Route(f"{run}/archive", page_api.archive),
        Route(f"{run}/pictures/{{name}}/{{step:int}}", page_api.picture),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]


async def _page(request: HttpRequest) -> Response:
    return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})


async def _health(request: HttpRequest) -> Response:
    return JSONResponse({"status": "ok", "model": request.app.state.served.name})


async def _metrics(request: HttpRequest) -> Response:
    return Response(request.app.state.served.metrics.text(), headers={"content-type": CONTENT_TYPE})


async def _models(request: HttpRequest) -> Response:
    name, created = request.app.state.served.name, request.app.state.started
    model = {"id": name, "object": "model", "created": created, "owned_by": "milr"}
    return JSONResponse({"object": "list", "data": [model]})


async def _on_error(request: HttpRequest, error: Exception) -> Response:
    return api_error(error).response()


async def _on_http_error(request: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return ApiError(f"{error.detail}.".lower(), status=error.status_code, code="not_served").response()


async def _on_disconnect(request: HttpRequest, error: Exception) -> Response:
    return Response(status_code=GONE)
