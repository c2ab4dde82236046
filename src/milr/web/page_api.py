"""What the page asks: what can be chosen, searches as streams of events, and past runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from pydantic import ValidationError
from starlette.background import BackgroundTask
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse

from milr import catalog
from milr.types import Outcome, Step
from milr.web.errors import ApiError
from milr.web.fields import PageRequest, check_prompt, check_samples, search_options, served
from milr.web.pictures import encode
from milr.web.searches import Ended, Made, Partial, Request, Started
from milr.web.served import Served
from milr.web.streams import Message, event_response
from milr.web.views import score_view, step_view, summary_view
from milr.workflows.prompts import world_of

PARTS = 4  # in which a picture is drawn where it is shown while it is
CHUNK = 2**18  # bytes of an archive that are sent at once
IMMUTABLE = {"cache-control": "private, max-age=31536000, immutable"}


async def menu(request: HttpRequest) -> Response:
    """What can be chosen, the limits, and what the model can draw where that is a small world."""
    here: Served = request.app.state.served
    world, own = world_of(here.session.model), here.options
    drawn = {"vocabulary": {kind: list(words) for kind, words in world.vocabulary().items()}} if world else None
    limits = here.limits
    return JSONResponse({
        "model": here.name, "size": here.size, "world": drawn,
        "methods": _parts("methods", own), "rewards": _parts("rewards", own),
        "defaults": {"method": own.method, "reward": own.reward, "metric": own.metric, "pictures": own.pictures,
                     "seed": own.seed},
        "limits": {"prompt": limits.prompt, "pictures": limits.pictures, "samples": limits.samples},
    })  # fmt: skip


def _parts(kind: str, own: Any) -> list[dict[str, str]]:
    parts = catalog.menu(kind)
    return [{"name": name, "summary": parts[name].summary if name in parts else ""} for name in served(kind, own)]


async def search(request: HttpRequest) -> Response:
    """Begin a search, and follow it; closing the connection gives it up."""
    here: Served = request.app.state.served
    asked = PageRequest.model_validate_json(await request.body())
    check_prompt(asked.prompt, here.limits)
    check_samples(asked.samples, here.limits, "samples")
    options = search_options(asked.milr, here.options, here.limits)
    wanted = Request(asked.prompt, asked.samples, options, PARTS if asked.partial else 1)
    return await event_response(request, _events(here, wanted))


async def resume(request: HttpRequest) -> Response:
    """Go on with a search that was interrupted, and follow it."""
    here: Served = request.app.state.served
    run = request.path_params["run"]
    stored = await asyncio.to_thread(here.gallery.request, run)
    try:  # what a folder says is no more trusted than what a client says
        asked = PageRequest.model_validate({"prompt": stored["prompt"], "samples": stored["samples"],
                                            "milr": stored["options"]} if stored else {})  # fmt: skip
    except ValidationError:
        raise ApiError(
            "this run was not made here, and does not say what was asked for.", code="not_resumable"
        ) from None
    check_prompt(asked.prompt, here.limits)
    check_samples(asked.samples, here.limits, "samples")
    options = search_options(asked.milr, here.options, here.limits)
    wanted = Request(asked.prompt, asked.samples, options, PARTS, run)
    return await event_response(request, _events(here, wanted))


async def stop(request: HttpRequest) -> Response:
    """Let a search end with the picture that it draws, and keep its best."""
    here: Served = request.app.state.served
    if not here.searches.stop(request.path_params["run"]):
        raise ApiError("no such search is at work.", status=404, code="not_found")
    return JSONResponse({"stopping": True})


async def _events(here: Served, wanted: Request) -> AsyncGenerator[Message, None]:
    steps: dict[int, list[Step]] = {}
    async with aclosing(here.searches.watch(wanted)) as events:
        async for event in events:
            match event:
                case Started(run, warnings):
                    yield "started", {"run": run, "warnings": list(warnings)}
                case Partial(sample, step, picture, share):
                    content = await asyncio.to_thread(encode, picture)
                    yield "partial", {"sample": sample, "step": step, "share": share, "picture": content}
                case Made(sample, made):
                    before = steps.setdefault(sample, [])
                    content = await asyncio.to_thread(encode, made.rollout.picture)
                    yield "step", {"sample": sample, "picture": content, **step_view(made, before)}
                    before.append(made)
                case Ended(outcomes):
                    yield "ended", {"samples": [_end(outcome) for outcome in outcomes]}


def _end(outcome: Outcome) -> dict[str, Any]:
    judged = outcome.judged.get(outcome.returned)
    return {**summary_view(outcome), "judged": score_view(judged) if judged else None}


async def list_runs(request: HttpRequest) -> Response:
    """The newest runs, or those before one."""
    here: Served = request.app.state.served
    query = request.query_params
    found = await asyncio.to_thread(here.gallery.list, query.get("before", "")[:100], query.get("q", "")[:200])
    return JSONResponse(found, headers={"cache-control": "no-store"})


async def show_run(request: HttpRequest) -> Response:
    """Everything about a run but its pictures."""
    here: Served = request.app.state.served
    return _json(await asyncio.to_thread(here.gallery.run, request.path_params["run"]))


async def picture(request: HttpRequest) -> Response:
    """A picture of a run, as PNG."""
    here: Served = request.app.state.served
    where = request.path_params
    content = await asyncio.to_thread(here.gallery.picture, where["run"], where["name"], where["step"])
    return Response(content, media_type="image/png", headers=IMMUTABLE)


async def archive(request: HttpRequest) -> Response:
    """The folder of a run as a zip file."""
    here: Served = request.app.state.served
    run = request.path_params["run"]
    file = await asyncio.to_thread(here.gallery.archive, run)
    return StreamingResponse(iter(lambda: file.read(CHUNK), b""), media_type="application/zip",
                             headers={"content-disposition": f'attachment; filename="{run}.zip"'},
                             background=BackgroundTask(file.close))  # fmt: skip


def _json(content: Any) -> Response:
    """JSON in which numbers that are none (nan) are null."""
    return Response(json.dumps(content, allow_nan=False), media_type="application/json",
                    headers={"cache-control": "no-store"})  # fmt: skip
