"""`POST /v1/images/generations`: OpenAI's images API, over a search.

Where something of the protocol means nothing to a model that draws pictures of one size, the answer is an error that
says so. `complexity` is the search's budget; `milr` holds our own options, and comes back with what the search found.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from milr.types import Cost, Outcome
from milr.web.errors import ApiError
from milr.web.fields import COMPLEXITY, ImageRequest, check_prompt, check_samples, search_options
from milr.web.pictures import encode
from milr.web.searches import Ended, Made, Partial, Request, Started
from milr.web.served import Served
from milr.web.streams import Message, event_response, unless_gone
from milr.web.views import score_view, summary_view

PREFIX = "image_generation"


async def generate_images(request: HttpRequest) -> Response:
    """Search for `n` pictures of a prompt, and send the returned ones; or stream one while it is made."""
    served: Served = request.app.state.served
    asked = ImageRequest.model_validate_json(await request.body())
    _check(asked, served)
    search = _search(asked, served)
    if asked.stream:
        return await event_response(request, _events(asked, search, served))
    started, outcomes = await unless_gone(request, _finish(search, served))
    pictures = [await asyncio.to_thread(_picture, outcome, asked) for outcome in outcomes]
    data = [{"b64_json": picture, "milr": found_view(outcome, started)}
            for picture, outcome in zip(pictures, outcomes, strict=True)]  # fmt: skip
    return JSONResponse({"created": int(time.time()), "data": data, "usage": _usage(asked, outcomes, served),
                         **_form(asked, served), "milr": {"run": started.run, "warnings": list(started.warnings)}}
                        )  # fmt: skip


def _check(asked: ImageRequest, served: Served) -> None:
    """ApiError for what this server cannot do."""
    served.check_model(asked.model)
    check_prompt(asked.prompt, served.limits)
    check_samples(asked.n, served.limits, "n")
    refused = (
        ("size", asked.size not in (None, "auto", served.size), f"{served.name} draws {served.size} only."),
        ("quality", asked.quality not in (None, "auto", "standard"),
         "all pictures have one quality; complexity (low, medium, high) says how long to search for a better one."),
        ("background", asked.background == "transparent", "pictures have no transparency."),
        ("response_format", asked.response_format == "url", "pictures come as b64_json; no address is kept for them."),
        ("style", asked.style is not None, "there is no such choice here."),
        ("output_compression", asked.output_compression != 100 and asked.output_format == "png",
         "a png is lossless; ask for output_format jpeg or webp."),
        ("partial_images", bool(asked.partial_images) and not asked.stream, "it needs stream: true."),
        ("n", bool(asked.stream) and asked.n > 1, "a stream shows one picture: leave n out, or stream out."),
    )  # fmt: skip
    for param, wrong, why in refused:
        if wrong:
            raise ApiError(f"{param}: {why}", param=param, code="unsupported_value")


def _search(asked: ImageRequest, served: Served) -> Request:
    pictures = COMPLEXITY[asked.complexity] if asked.complexity else None
    options = search_options(asked.milr, served.options, served.limits, pictures)
    drawn_once = options.get("pictures") == 1
    parts = 1 + (asked.partial_images or 0) if asked.stream and drawn_once else 1
    return Request(asked.prompt, asked.n, options, parts)


async def _finish(search: Request, served: Served) -> tuple[Started, list[Outcome]]:
    started, outcomes = Started("", ()), list[Outcome]()
    async with aclosing(served.searches.watch(search)) as events:
        async for event in events:
            started = event if isinstance(event, Started) else started
            outcomes = event.outcomes if isinstance(event, Ended) else outcomes
    return started, outcomes


async def _events(asked: ImageRequest, search: Request, served: Served) -> AsyncGenerator[Message, None]:
    """The first better pictures of a search, or of a single picture the rows so far; then the result."""
    form, sent, best = _form(asked, served), 0, -1.0
    started, wanted = Started("", ()), asked.partial_images or 0
    async with aclosing(served.searches.watch(search)) as events:
        async for event in events:
            shown = event.picture if isinstance(event, Partial) else None
            if isinstance(event, Started):
                started = event
            elif isinstance(event, Made) and search.parts == 1 and (event.step.score.value or 0.0) > best:
                best, shown = event.step.score.value or 0.0, event.step.rollout.picture
            if shown is not None and sent < wanted:
                content = await asyncio.to_thread(encode, shown, asked.output_format, asked.output_compression)
                yield _message("partial_image", {"b64_json": content, "partial_image_index": sent, **form})
                sent += 1
            if isinstance(event, Ended):
                (outcome,) = event.outcomes
                content = await asyncio.to_thread(_picture, outcome, asked)
                yield _message("completed", {"b64_json": content, "usage": _usage(asked, [outcome], served), **form,
                                             "milr": found_view(outcome, started)})  # fmt: skip


def _message(kind: str, content: dict[str, Any]) -> Message:
    name = f"{PREFIX}.{kind}"
    return name, {"type": name, "created_at": int(time.time()), **content}


def _form(asked: ImageRequest, served: Served) -> dict[str, Any]:
    """How the pictures are, in OpenAI's words."""
    return {"background": "opaque", "output_format": asked.output_format, "size": served.size, "quality": "auto"}


def _picture(outcome: Outcome, asked: ImageRequest) -> str:
    return encode(outcome.picture, asked.output_format, asked.output_compression)


def _usage(asked: ImageRequest, outcomes: list[Outcome], served: Served) -> dict[str, Any]:
    """Tokens: those of the prompt, and every position that was decoded, of texts and of pictures."""
    cost = sum((outcome.cost for outcome in outcomes), Cost())
    text = len(served.session.model.encode_text(asked.prompt))
    return {"input_tokens": text, "input_tokens_details": {"text_tokens": text, "image_tokens": 0},
            "output_tokens": cost.token_steps, "total_tokens": text + cost.token_steps}  # fmt: skip


def found_view(outcome: Outcome, started: Started) -> dict[str, Any]:
    """What the search found, for the extra object of a picture."""
    judged = outcome.judged.get(outcome.returned)
    text = outcome.steps[outcome.returned].rollout.visualisation
    return {"run": started.run, **summary_view(outcome), **score_view(outcome.score),
            "first_score": outcome.first_score.value, "judged": score_view(judged) if judged else None,
            "visualisation": text.text if text else None, "pictures": len(outcome.steps),
            "warnings": list(started.warnings)}  # fmt: skip
