"""Tools for agents, by the Model Context Protocol: draw, judge, and look at past runs; as strict as the HTTP API.

Over stdio the client has started this process and may do everything. Over HTTP the guard stands before it. Where the
server lets anybody read, what works (`generate`, `judge`) asks for the key here.
"""

from __future__ import annotations

import asyncio
import hmac
import io
import json
import re
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from importlib.metadata import version
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ToolError
from mcp.types import ToolAnnotations
from PIL import Image as Pictures
from pydantic import Field, ValidationError

from milr.runs.record_files import name_of
from milr.types import MilrError, Outcome
from milr.web.errors import ApiError, api_error
from milr.web.fields import COMPLEXITY, SearchFields, check_prompt, check_samples, search_options
from milr.web.images_api import found_view
from milr.web.pictures import decode_data_url, png
from milr.web.searches import Ended, Made, Request, Started
from milr.web.served import Served
from milr.web.views import score_view

PICTURE = "milr://runs/{run}/pictures/{sample}/{step}"
_PICTURE = re.compile(r"milr://runs/([^/]+)/pictures/([^/]+)/(\d{1,4})")
MOST_SHOWN = 4  # pictures of a run that are sent with it
INSTRUCTIONS = ("milr draws a picture, judges it, and searches for a better one. Call generate with a prompt; show_run "
                "shows a past search again.")  # fmt: skip
READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
WORKS = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)


def make_mcp_server(served: Served) -> MCPServer[Any]:
    """The server of one session, for any transport."""
    server: MCPServer[Any] = MCPServer("milr", version=version("milr"), instructions=INSTRUCTIONS, log_level="WARNING")
    tools = _Tools(served)
    server.add_tool(tools.generate, annotations=WORKS, structured_output=False)
    server.add_tool(tools.judge, annotations=WORKS)
    server.add_tool(tools.list_runs, annotations=READS)
    server.add_tool(tools.show_run, annotations=READS, structured_output=False)
    server.resource(PICTURE, name="picture", description="A picture of a run.", mime_type="image/png")(tools.picture)
    return server


class _Tools:
    """The tools of one server; what an agent reads of them is in their docstrings."""

    def __init__(self, served: Served) -> None:
        self._served, self._limits = served, served.limits

    async def generate(
        self,
        prompt: Annotated[str, Field(description="What to draw.")],
        context: Context[Any, Any],
        samples: Annotated[int, Field(description="How many pictures, each from a search of its own.")] = 1,
        complexity: Annotated[
            Literal["low", "medium", "high"] | None, Field(description="How long to search for a better picture.")
        ] = None,
        seed: Annotated[int | None, Field(description="Another seed gives another picture.")] = None,
        method: Annotated[str | None, Field(description="How to search; the default is the server's.")] = None,
        reward: Annotated[str | None, Field(description="What judges; the default is the server's.")] = None,
    ) -> list[Any]:
        """Draw a picture that follows the prompt, by a search that a judge guides.

        For each sample: what was found (score, parts, the model's plan, the run) as JSON, and the picture.
        """
        with _errors_told(ToolError):
            self._check_key(context)
            check_prompt(prompt, self._limits)
            check_samples(samples, self._limits, "samples")
            fields = SearchFields(seed=seed, method=method, reward=reward)
            budget = COMPLEXITY[complexity] if complexity else None
            options = search_options(fields, self._served.options, self._limits, budget)
            started, outcomes = await self._search(Request(prompt, samples, options), context)
            return [part for outcome in outcomes for part in await asyncio.to_thread(_found, outcome, started)]

    async def judge(
        self,
        prompt: Annotated[str, Field(description="What the picture should show.")],
        picture: Annotated[
            str,
            Field(description="A data URL (data:image/png;base64,...), or milr://runs/... as generate gives it."),
        ],
        context: Context[Any, Any],
        reward: Annotated[str | None, Field(description="What judges; the default is the server's.")] = None,
    ) -> dict[str, Any]:
        """Score how well a picture follows a prompt, from 0 to 1; null is a judgement that could not be made."""
        with _errors_told(ToolError):
            self._check_key(context)
            check_prompt(prompt, self._limits)
            options = search_options(SearchFields(reward=reward), self._served.options, self._limits)
            async with self._served.searches.admission.place():
                shown = await asyncio.to_thread(self._picture, picture)
                name, score = await self._served.session.judge(shown, prompt, options)
            return {"reward": name, **score_view(score)}

    async def list_runs(
        self,
        query: Annotated[str, Field(description="Words of the prompt; empty for all.")] = "",
        before: Annotated[str, Field(description="The `next` of an earlier list.")] = "",
    ) -> dict[str, Any]:
        """List past runs, the newest first: prompt, method, score, state."""
        with _errors_told(ToolError):
            return await asyncio.to_thread(self._served.gallery.list, before[:200], query[: self._limits.prompt])

    async def show_run(self, run: Annotated[str, Field(description="A run's name, of list_runs.")]) -> list[Any]:
        """Show a past run: every step with its score as JSON, and the returned pictures of its first samples."""
        with _errors_told(ToolError):
            return await asyncio.to_thread(self._run, run)

    def picture(self, run: str, sample: str, step: str) -> bytes:
        """A picture of a run, as PNG."""
        with _errors_told(ResourceError):
            if not re.fullmatch(r"\d{1,4}", step):
                raise ApiError("there is no such picture.", status=404)
            return self._served.gallery.picture(run, sample, int(step))

    def _check_key(self, context: Context[Any, Any]) -> None:
        """ApiError for a request over HTTP without the server's key; stdio has no headers, and is trusted."""
        key, headers = self._served.settings.key, context.headers
        if not key or headers is None:
            return
        given = headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not hmac.compare_digest(given.encode(), key.encode()):
            raise ApiError("this needs the server's key: send the header Authorization: Bearer KEY.", status=401)

    async def _search(self, request: Request, context: Context[Any, Any]) -> tuple[Started, list[Outcome]]:
        started, outcomes, drawn = Started("", ()), list[Outcome](), 0
        async with aclosing(self._served.searches.watch(request)) as events:
            async for event in events:
                if isinstance(event, Started):
                    started = event
                elif isinstance(event, Made):
                    drawn += 1
                    await context.report_progress(drawn, message=f"picture {drawn}, score {event.step.score.value}")
                elif isinstance(event, Ended):
                    outcomes = event.outcomes
        return started, outcomes

    def _picture(self, address: str) -> Pictures.Image:
        if stored := _PICTURE.fullmatch(address):
            run, sample, step = stored.groups()
            content = self._served.gallery.picture(run, sample, int(step))
            return Pictures.open(io.BytesIO(content), formats=("PNG",)).convert("RGB")
        return decode_data_url(address, pixels=self._limits.pixels, param="picture")

    def _run(self, run: str) -> list[Any]:
        shown = self._served.gallery.run(run)
        pictures = [self._served.gallery.picture(run, sample["name"], sample["returned"])
                    for sample in shown["samples"][:MOST_SHOWN]]  # fmt: skip
        return [json.dumps(shown), *(Image(data=content, format="png") for content in pictures)]


def _found(outcome: Outcome, started: Started) -> list[Any]:
    """What a search found, and its picture."""
    sample = name_of(outcome.prompt, outcome.key.sample)
    address = PICTURE.format(run=started.run, sample=sample, step=outcome.returned)
    return [json.dumps({**found_view(outcome, started), "picture": address}),
            Image(data=png(outcome.picture), format="png")]  # fmt: skip


@contextmanager
def _errors_told(kind: type[Exception]) -> Iterator[None]:
    """What a client did wrong is told in words; anything else is the server's own failure, which its log explains."""
    try:
        yield
    except (ApiError, MilrError, ValidationError) as error:
        raise kind(str(api_error(error))) from error
