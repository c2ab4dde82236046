"""The client of any OpenAI-compatible chat endpoint (OpenAI, vLLM, SGLang, Ollama), on the official Python client.

Requests are made by `openai` and repeated by `tenacity` (the extra `judge`). The key comes from the environment and
goes nowhere but into the request: no setting, record, cached answer or error message holds it.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import parse_qsl, urlsplit

from milr.outside.text import MAX_MESSAGE, clean
from milr.rewards.endpoint.answer_cache import AnswerCache
from milr.rewards.endpoint.completion import ChatAnswer, read_completion
from milr.rewards.endpoint.failures import EndpointFailure, failure_of
from milr.rewards.endpoint.question_reward import ParseAnswer
from milr.rewards.endpoint.request_fields import RequestFields
from milr.rewards.endpoint.retrying import BusyLine, until_not_transient
from milr.rewards.endpoint.settings import EndpointSettings
from milr.rules.judgements import without_reasoning
from milr.types import JudgeError, MissingError, Score, UsageError

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from PIL.Image import Image

Parsed = TypeVar("Parsed")
DUMMY_KEY = "none"  # sent to an endpoint that wants no key, because the client insists on one
QUOTED_CHARACTERS = 200  # the end of an unreadable answer that is quoted in the reason
_OPENAI_HOST = "api.openai.com"


class EndpointClient:
    """A `JudgeClient` over HTTP. `calls` counts the requests sent; it can be used from one event loop after another."""

    def __init__(self, settings: EndpointSettings) -> None:
        for package in ("openai", "tenacity"):
            if find_spec(package) is None:
                raise MissingError(f"a judge at an endpoint needs the package {package}: pip install 'milr[judge]'.")
        self.settings = settings
        self.calls = 0
        self._connections: dict[asyncio.AbstractEventLoop, _Connection] = {}
        self._cache = AnswerCache(settings.cache_folder) if settings.cache_folder else None
        self._fields = RequestFields(settings)
        self._key()  # raises now, and not after the first picture, where the key is missing or unusable

    def identity(self) -> dict[str, Any]:
        """What tells two judge models apart: model, address, temperature, the length of answers, and extra fields."""
        names = ("model", "base_url", "max_tokens", "temperature")
        identity = {name: getattr(self.settings, name) for name in names}
        extra = json.dumps(self.settings.extra, sort_keys=True)
        system = {"system": self.settings.system} if self.settings.system else {}
        return identity | ({"extra": extra} if self.settings.extra else {}) | system

    async def judge(self, picture: Image, question: str, parse: ParseAnswer) -> Score:
        """The score that `parse` makes of the answer, asking again while it makes none of it.

        An answer that was cut, or that is a refusal, is none: it is asked for again only where the temperature makes
        another one likely. A cached answer costs no request; only answers that could be read are cached. `calls` of the
        score counts answers, and is the same whether they were cached or not.
        """
        found = await self._read(picture, question, parse)
        if found.value is None:
            return Score.unscored(found.problem, calls=found.tries)
        return replace(found.value, calls=found.tries)

    async def write(self, instruction: str, parse: Callable[[str], Parsed | None]) -> ReadAnswer[Parsed]:
        """What `parse` makes of the answer to an instruction without a picture, asked for and cached as a judgement."""
        return await self._read(None, instruction, lambda text: parse(without_reasoning(text)))

    async def _read(self, picture: Image | None, question: str, parse: Callable[[str], Parsed | None]
                    ) -> ReadAnswer[Parsed]:  # fmt: skip
        answers, answer = 0, ChatAnswer("")
        try:
            if found := self._cached(picture, question, parse):
                return found
            async with self._connect():
                for answers in range(1, self.settings.max_answers + 1):
                    answer = await self.ask(picture, question)
                    value = None if answer.problem else parse(answer.text)
                    if value is not None:
                        self._cache_answer(picture, question, answer.text, tries=answers)
                        return ReadAnswer(value, answers)
                    if answer.problem and self._fields.greedy:
                        break
        except JudgeError as error:
            return ReadAnswer(None, answers, str(error))
        if answer.problem:
            return ReadAnswer(None, answers, f"the judge {self.settings.model} gave no verdict: {answer.problem}")
        quote = answer.text[-QUOTED_CHARACTERS:]
        return ReadAnswer(None, answers, f"the judge's answer could not be read in {answers} tries: {quote!r}")

    async def ask(self, picture: Image | None, question: str) -> ChatAnswer:
        """The endpoint's answer about a picture (None: about nothing); JudgeError where it fails for good."""
        shown = [{"type": "image_url", "image_url": {"url": _data_url(picture)}}] if picture else []
        content = [*shown, {"type": "text", "text": question}]
        attempts = until_not_transient(self.settings)
        async with self._connect() as connection, connection.semaphore:

            async def attempt() -> ChatAnswer:
                return await attempts(self._request, connection.client, content)

            try:
                return await connection.line.ask(attempt)
            except EndpointFailure as failure:
                raise JudgeError(self._error_message(failure)) from None  # the cause may quote the key

    async def _request(self, client: AsyncOpenAI, content: Any) -> ChatAnswer:
        """One answer, in as many requests as it takes to learn which fields the server refuses."""
        while True:
            fields = self._fields.current()
            try:
                return await self._send(client, content, fields)
            except EndpointFailure as failure:
                if not self._fields.learn(failure, fields):
                    raise

    async def _send(self, client: AsyncOpenAI, content: Any, fields: dict[str, Any]) -> ChatAnswer:
        from openai import OpenAIError

        self._count_call()
        create = client.chat.completions.with_raw_response.create  # loads most of the client: not the endpoint's time
        system = [{"role": "system", "content": self.settings.system}] if self.settings.system else []
        messages: Any = [*system, {"role": "user", "content": content}]
        try:
            async with asyncio.timeout(self.settings.timeout):
                response = await create(model=self.settings.model, messages=messages, extra_body=fields)
        except (OpenAIError, TimeoutError, ValueError, RecursionError, EndpointFailure) as error:
            raise failure_of(error, timeout=self.settings.timeout, secret=self._key()) from None
        body, headers = response.http_response.content, response.http_response.headers
        return read_completion(body, headers, max_tokens=self.settings.max_tokens, secret=self._key(),
                               first_token=self.settings.first_token)  # fmt: skip

    def _count_call(self) -> None:
        limit = self.settings.max_calls
        if limit is not None and self.calls >= limit:
            raise JudgeError(f"the cap of {limit} calls to {self.settings.model} is reached: raise --judge-calls")
        self.calls += 1

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[_Connection]:
        """This event loop's connection; it is closed when nobody uses it, so that no loop ends with it open."""
        loop = asyncio.get_running_loop()
        if loop not in self._connections:
            semaphore = asyncio.Semaphore(self.settings.concurrency)
            self._connections[loop] = _Connection(self._openai_client(), semaphore, BusyLine(self.settings))
        connection = self._connections[loop]
        connection.users += 1
        try:
            yield connection
        finally:
            connection.users -= 1
            if not connection.users:
                del self._connections[loop]
                await connection.client.close()

    def _openai_client(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI

        from milr.rewards.endpoint.bounded_http import BoundedHttpClient

        address, _, query = self.settings.base_url.partition("?")
        parameters = dict(parse_qsl(query, keep_blank_values=True))
        azure = {"api-key": self._key()} if "api-version" in parameters else {}  # the header of Azure's older addresses
        return AsyncOpenAI(api_key=self._key(), base_url=address, default_query=parameters, default_headers=azure,
                           max_retries=0, timeout=None, http_client=BoundedHttpClient(timeout=None))  # fmt: skip

    def _key(self) -> str:
        variable = self.settings.key_variable
        key = os.environ.get(variable, "").strip()
        if not key and urlsplit(self.settings.base_url).hostname == _OPENAI_HOST:
            raise MissingError(
                f"the judge at {_OPENAI_HOST} needs a key: put it into the environment variable {variable}."
            )
        if not (key.isascii() and key.isprintable()):
            raise UsageError(f"the key in the environment variable {variable} is not plain text; set it again.")
        return key or DUMMY_KEY

    def _cached(self, picture: Image | None, question: str, parse: Callable[[str], Parsed | None]
                ) -> ReadAnswer[Parsed] | None:  # fmt: skip
        cached = self._cache.load(self._cache_key(picture, question)) if self._cache else None
        value = parse(cached.answer) if cached else None
        return ReadAnswer(value, cached.tries) if cached and value is not None else None

    def _cache_answer(self, picture: Image | None, question: str, answer: str, *, tries: int) -> None:
        if self._cache:
            self._cache.store(self._cache_key(picture, question), answer, model=self.settings.model, tries=tries)

    def _cache_key(self, picture: Image | None, question: str) -> str:
        settings = self.settings
        request = [question, settings.base_url, settings.model, settings.max_tokens, settings.temperature]
        extra = [json.dumps(settings.extra, sort_keys=True)] if settings.extra else []
        system = [settings.system] if settings.system else []
        return AnswerCache.key(picture, *map(str, request + extra + system))

    def _error_message(self, failure: EndpointFailure) -> str:
        """What went wrong and what to do, in one sentence without the key."""
        settings = self.settings
        times = f" {settings.max_attempts} times" if failure.transient and settings.max_attempts > 1 else ""
        advice = failure.advice(settings.key_variable, settings.max_tokens)
        sentence = f"the judge {settings.model} at {settings.base_url} failed{times} ({failure}); {advice}."
        return clean(sentence, MAX_MESSAGE, secrets=(self._key(),))


@dataclass(frozen=True)
class ReadAnswer(Generic[Parsed]):
    """What was made of an answer, and after how many answers; `value` None: nothing, and `problem` says why."""

    value: Parsed | None
    tries: int
    problem: str = ""


@dataclass
class _Connection:
    """An event loop's client, the semaphore of its requests, who waits for a busy server, and how many use it now."""

    client: AsyncOpenAI
    semaphore: asyncio.Semaphore
    line: BusyLine
    users: int = 0


def _data_url(picture: Image) -> str:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
