"""The bodies of requests, and what of them becomes options of a search.

What a client may choose is listed here; everything else belongs to whoever started the server. No field names a file:
methods and rewards are names from the catalogue, and rewards that load weights or ask an endpoint are refused unless
the server was started with them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from milr import catalog
from milr.options import Options
from milr.types import UsageError
from milr.web.errors import ApiError
from milr.web.limits import Limits

COMPLEXITY = {"low": 4, "medium": 12, "high": 21}  # pictures that a search may draw
NEED_ARGUMENT = ("noisy", "weighted", "rank")  # rewards that mean nothing by their name alone
Format = Literal["png", "webp", "jpeg"]
STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class SearchFields(BaseModel):
    """Our own options of a search; None leaves the choice to the server."""

    model_config = STRICT

    method: str | None = None
    reward: str | None = None
    metric: str | None = None
    preset: Literal["default", "paper", "paper-scaled"] | None = None
    schedule: Literal["joint", "alt", "t2v", "text", "image"] | None = None
    pictures: int | None = Field(default=None, ge=1)
    steps: int | None = Field(default=None, ge=0)
    stop: bool | None = None
    threshold: float | None = Field(default=None, ge=0, le=1)
    seed: int | None = Field(default=None, ge=0, lt=2**53)
    text_ratio: float | None = None
    image_ratio: float | None = None
    learning_rate: float | None = None
    guidance_scale: float | None = None
    temperature: float | None = None
    visualisation: str | None = None


class ImageRequest(BaseModel):
    """`POST /v1/images/generations`."""

    model_config = STRICT

    prompt: str
    model: str | None = None
    n: int = 1
    size: str | None = None
    quality: str | None = None
    complexity: Literal["low", "medium", "high"] | None = None
    background: Literal["auto", "opaque", "transparent"] | None = None
    output_format: Format = "png"
    output_compression: int = Field(100, ge=0, le=100)
    response_format: Literal["b64_json", "url"] | None = None
    moderation: Literal["auto", "low"] | None = None
    style: str | None = None
    stream: bool | None = None
    partial_images: int | None = Field(default=None, ge=0, le=3)
    user: str | None = None
    milr: SearchFields = SearchFields()


class PageRequest(BaseModel):
    """`POST /api/searches`: what the page asks for."""

    model_config = STRICT

    prompt: str
    samples: int = 1
    partial: bool = True
    milr: SearchFields = SearchFields()


def check_prompt(prompt: str, limits: Limits) -> None:
    """ApiError for a prompt that is too long; what else may be wrong with it, the search says."""
    if len(prompt) > limits.prompt:
        raise ApiError(f"prompt: it has {len(prompt)} letters, and this server reads at most {limits.prompt}.",
                       param="prompt", code="string_above_max_length")  # fmt: skip


def check_samples(count: int, limits: Limits, param: str) -> None:
    """ApiError for a number of pictures that is not served."""
    if not 1 <= count <= limits.samples:
        raise ApiError(f"{param}: it must be from 1 to {limits.samples}.", param=param, code="invalid_value")


def search_options(fields: SearchFields, own: Options, limits: Limits, pictures: int | None = None) -> dict[str, Any]:
    """The options of a search; `own` are the server's, `pictures` the budget where the client names none.

    ApiError for a method or reward that is not served, and for a search of more pictures than the limit.
    """
    options = {name: value for name, value in fields.model_dump().items() if value is not None}
    _check_names(fields, own)
    if pictures is not None and fields.pictures is None and fields.steps is None:
        options["pictures"] = pictures
    most = options.get("pictures") or (options["steps"] + 1 if "steps" in options else None)
    if most is not None and most > limits.pictures:
        param = "milr.pictures" if fields.steps is None else "milr.steps"
        raise ApiError(f"{param}: this server draws at most {limits.pictures} pictures in a search.", param=param,
                       code="invalid_value")  # fmt: skip
    if fields.visualisation is not None:
        check_prompt(fields.visualisation, limits)
    if most is None and own.pictures is None and own.steps is None:
        options["pictures"] = min(limits.pictures, COMPLEXITY["high"])
    return options


def _check_names(fields: SearchFields, own: Options) -> None:
    """ApiError unless methods and rewards are served."""
    for kind, param, name in (("methods", "method", fields.method), ("rewards", "reward", fields.reward),
                              ("rewards", "metric", fields.metric)):  # fmt: skip
        if name is None or name in (own.method, own.reward, own.metric):
            continue
        try:
            catalog.one_of(kind[:-1], name, served(kind, own))
        except UsageError as error:
            raise ApiError(f"milr.{param}: {error}", param=f"milr.{param}", code="invalid_value") from None


def served(kind: str, own: Options) -> list[str]:
    """The names that clients may choose: our methods, and rewards that need no weights of their own and no endpoint."""
    if kind == "methods":
        names = list(catalog.METHODS)
        return names if own.method in names else [own.method, *names]
    free = [name for name, part in catalog.REWARDS.items()
            if not (part.checkpoints or part.packages or name in NEED_ARGUMENT)]  # fmt: skip
    return list(dict.fromkeys([*filter(None, (own.reward, own.metric)), *free, "self:json"]))
