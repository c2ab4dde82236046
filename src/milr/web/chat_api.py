"""`POST /v1/chat/completions` with one picture: the model's understanding path, so that it can judge for others.

Answers are greedy. With `logprobs` the answer's verdict, a yes or no, comes with its probability: one entry, over these
two words alone. With `{"milr": {"answer": "verdict"}}` the text is a caption, the question is the model's own about it,
and the answer is 0 (the picture shows it) or -1, which is what the reward `judge` reads.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from typing import Any, Literal

from pydantic import BaseModel, Field
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from milr.types import Answer
from milr.web.errors import ApiError
from milr.web.fields import STRICT, check_prompt
from milr.web.pictures import decode_data_url
from milr.web.served import Served
from milr.web.streams import unless_gone

LIKELY = 0.5  # above which a yes is a yes
LEAST = 1e-12  # a probability whose logarithm is still a number


class ImageUrl(BaseModel):
    """Where a picture is; a data URL."""

    model_config = STRICT

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class Part(BaseModel):
    """A part of a message: text, or a picture."""

    model_config = STRICT

    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: ImageUrl | None = None


class Message(BaseModel):
    """A message; `content` is a text or parts."""

    model_config = STRICT

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]
    name: str | None = None


class ChatFields(BaseModel):
    """Our own options: what is answered."""

    model_config = STRICT

    answer: Literal["text", "verdict"] = "text"


class ChatRequest(BaseModel):
    """`POST /v1/chat/completions`."""

    model_config = STRICT

    messages: list[Message] = Field(min_length=1, max_length=16)
    model: str | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    seed: int | None = None
    stream: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    user: str | None = None
    milr: ChatFields = ChatFields()


async def complete_chat(request: HttpRequest) -> Response:
    """Answer one question about one picture."""
    served: Served = request.app.state.served
    asked = ChatRequest.model_validate_json(await request.body())
    served.check_model(asked.model)
    _check(asked)
    question, url, param = _question(asked)
    check_prompt(question, served.limits)
    served.session.model.check(question)
    verdict = asked.milr.answer == "verdict"
    text = served.session.model.question(question) if verdict else question
    limit = asked.max_completion_tokens or asked.max_tokens
    most = None if verdict or limit is None else min(limit, served.limits.answer_tokens)

    async def answered() -> Answer:
        async with served.searches.admission.place():  # a picture that waits is not decoded
            picture = await asyncio.to_thread(decode_data_url, url, pixels=served.limits.pixels, param=param)
            return await served.session.ask(picture, text, most)

    answer = await unless_gone(request, answered())
    served.metrics.answers.inc()
    return JSONResponse(_completion(asked, answer, text, served, verdict=verdict))


def _check(asked: ChatRequest) -> None:
    """ApiError for what the model cannot do."""
    refused = (
        ("temperature", bool(asked.temperature), "answers are greedy: leave it out, or send 0."),
        ("n", asked.n not in (None, 1), "there is one answer to a question."),
        ("stream", bool(asked.stream), "answers are short, and come whole."),
        ("top_logprobs", asked.top_logprobs is not None and not asked.logprobs, "it needs logprobs: true."),
    )
    for param, wrong, why in refused:
        if wrong:
            raise ApiError(f"{param}: {why}", param=param, code="unsupported_value")


def _question(asked: ChatRequest) -> tuple[str, str, str]:
    """The question, the picture's address and where it stands; ApiError unless there is one of each."""
    if [message.role for message in asked.messages] != ["user"]:
        raise ApiError("messages: send one message of the user; this model answers one question about one picture.",
                       param="messages", code="unsupported_value")  # fmt: skip
    content = asked.messages[0].content
    parts = content if isinstance(content, list) else []
    texts = [part.text for part in parts if part.text is not None]
    places = [index for index, part in enumerate(parts) if part.image_url is not None]
    if len(places) != 1 or not texts:
        raise ApiError("messages: the message needs one picture (image_url) and a question (text).", param="messages",
                       code="invalid_value")  # fmt: skip
    picture = parts[places[0]].image_url
    assert picture is not None
    return "\n".join(texts).strip(), picture.url, f"messages.0.content.{places[0]}.image_url.url"


def _completion(asked: ChatRequest, answer: Answer, question: str, served: Served, *, verdict: bool) -> dict[str, Any]:
    if verdict and answer.yes is None:
        raise ApiError("the model came to no verdict on this picture.", status=502, code="no_verdict")
    text = answer.text if not verdict else "0" if (answer.yes or 0.0) > LIKELY else "-1"
    words = ("0", "-1") if verdict else ("yes", "no")
    model = served.session.model
    read, written = len(model.encode_text(question)), len(model.encode_text(answer.text))
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text, "refusal": None},
              "logprobs": _logprobs(asked, answer.yes, words)}  # fmt: skip
    return {"id": f"chatcmpl-{secrets.token_hex(12)}", "object": "chat.completion", "created": int(time.time()),
            "model": served.name, "choices": [choice],
            "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
            "milr": {"yes": answer.yes}}  # fmt: skip


def _logprobs(asked: ChatRequest, yes: float | None, words: tuple[str, str]) -> dict[str, Any] | None:
    """The verdict with its probability, and the other word's; None where it was not asked for, or there is none."""
    if not asked.logprobs or yes is None:
        return None
    pairs = sorted(zip((yes, 1.0 - yes), words, strict=True), reverse=True)
    entries = [{"token": word, "bytes": list(word.encode()), "logprob": math.log(max(probability, LEAST))}
               for probability, word in pairs]  # fmt: skip
    return {"content": [{**entries[0], "top_logprobs": entries[: asked.top_logprobs or 0]}], "refusal": None}
