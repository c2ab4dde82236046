"""The client of any OpenAI-compatible chat endpoint (OpenAI, vLLM, SGLang, Ollama), on the official Python client.

Requests are made by `openai` and repeated by `tenacity` (the extra `judge`). The key comes from the environment and
goes nowhere but into the request: no setting, record, cached answer or error message holds it.
"""

from __future__ import annotations

import asyncio
import base64
import io
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from milr.rewards.endpoint.answer_cache import AnswerCache
from milr.rewards.endpoint.failures import advice, describe, is_transient, retry_after
from milr.rewards.endpoint.question_reward import ParseAnswer
from milr.types import JudgeError, MissingError, Score, UsageError

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from PIL.Image import Image
    from tenacity import AsyncRetrying, RetryCallState

DUMMY_KEY = "none"  # sent to an endpoint that wants no key, because the client insists on one
QUOTED_CHARACTERS = 200  # the end of an unreadable answer that is quoted in the reason
_OPENAI_HOST = "api.openai.com"
_SHORTEST_SECRET = 8  # characters; a shorter key, such as "x" for a local server, may occur in answers by chance


@dataclass(frozen=True)
class EndpointSettings:
    """Where and how to ask.

    `max_tokens` (per answer) leaves room for models that reason before they answer. At most `concurrency` requests
    are open at once. `max_attempts` counts requests for one answer, `max_answers` answers until one can be read.
    `timeout` is in seconds for one request; `first_wait` and `longest_wait` bound the waiting between attempts, in
    seconds. `max_calls` caps the requests of this process (None: no cap). `cache_folder` stores answers (None: no).
    """

    base_url: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    max_tokens: int = 4096
    temperature: float = 0.0
    concurrency: int = 8
    max_attempts: int = 4
    max_answers: int = 3
    timeout: float = 300.0
    max_calls: int | None = None
    cache_folder: Path | None = None
    first_wait: float = 1.0
    longest_wait: float = 60.0

    def __post_init__(self) -> None:
        _check_address(self.base_url)
        if not self.model:
            raise UsageError("the judge's model has no name; give the name its endpoint knows it by.")
        for name in ("max_tokens", "concurrency", "max_attempts", "max_answers"):
            if getattr(self, name) < 1:
                raise UsageError(f"the judge's {name} must be at least 1, not {getattr(self, name)}.")
        if self.timeout <= 0 or self.temperature < 0 or (self.max_calls or 0) < 0:
            raise UsageError("the judge's timeout must be above 0, its temperature and its cap on calls at least 0.")


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
        self._key()  # raises now, and not after the first picture, where the key is missing or unusable

    def identity(self) -> dict[str, Any]:
        """What tells two judge models apart: model, address, temperature and the length of answers."""
        names = ("model", "base_url", "max_tokens", "temperature")
        return {name: getattr(self.settings, name) for name in names}

    async def judge(self, picture: Image, question: str, parse: ParseAnswer) -> Score:
        """The score that `parse` makes of the answer, asking again while it makes none of it.

        A cached answer costs no request; only answers that could be read are cached. `calls` of the score counts
        answers, and is the same whether they were cached or not.
        """
        answers = 0
        try:
            if (score := self._cached_score(picture, question, parse)) is not None:
                return score
            async with self._connect():
                for answers in range(1, self.settings.max_answers + 1):
                    answer = await self.ask(picture, question)
                    if (score := parse(answer)) is not None:
                        self._cache_answer(picture, question, answer, tries=answers)
                        return replace(score, calls=answers)
        except JudgeError as error:
            return Score.unscored(str(error), calls=answers)
        quote = answer[-QUOTED_CHARACTERS:]
        return Score.unscored(f"the judge's answer could not be read in {answers} tries: {quote!r}", calls=answers)

    async def ask(self, picture: Image, question: str) -> str:
        """The endpoint's answer about a picture ("" where it has none); JudgeError where it fails for good."""
        from openai import OpenAIError

        content = [{"type": "image_url", "image_url": {"url": _data_url(picture)}}, {"type": "text", "text": question}]
        async with self._connect() as connection, connection.semaphore:
            try:
                return await self._retrying()(self._request, connection.client, content)
            except (OpenAIError, TimeoutError, ValueError) as error:  # ValueError: the body was no JSON
                raise JudgeError(self._error_message(error)) from None  # the cause may quote the key

    async def _request(self, client: AsyncOpenAI, content: Any) -> str:
        limit = self.settings.max_calls
        if limit is not None and self.calls >= limit:
            raise JudgeError(f"the cap of {limit} calls to {self.settings.model} is reached: raise --judge-calls")
        self.calls += 1
        create = client.chat.completions.create  # loads most of the client: this is not the endpoint's time
        async with asyncio.timeout(self.settings.timeout):
            completion = await create(
                model=self.settings.model, messages=[{"role": "user", "content": content}],
                max_tokens=self.settings.max_tokens, temperature=self.settings.temperature,
            )  # fmt: skip
        return self._without_key(_content(completion))

    def _retrying(self) -> AsyncRetrying:
        import tenacity

        backoff = tenacity.wait_exponential_jitter(
            initial=self.settings.first_wait, max=self.settings.longest_wait, jitter=self.settings.first_wait
        )

        def wait(state: RetryCallState) -> float:
            seconds = retry_after(state.outcome.exception() if state.outcome else None)
            return backoff(state) if seconds is None else min(seconds, self.settings.longest_wait)

        return tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(self.settings.max_attempts), wait=wait,
            retry=tenacity.retry_if_exception(is_transient), reraise=True,
        )  # fmt: skip

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[_Connection]:
        """This event loop's connection; it is closed when nobody uses it, so that no loop ends with it open."""
        loop = asyncio.get_running_loop()
        if loop not in self._connections:
            self._connections[loop] = _Connection(self._openai_client(), asyncio.Semaphore(self.settings.concurrency))
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

        return AsyncOpenAI(api_key=self._key(), base_url=self.settings.base_url, max_retries=0, timeout=None)

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

    def _cached_score(self, picture: Image, question: str, parse: ParseAnswer) -> Score | None:
        cached = self._cache.load(self._cache_key(picture, question)) if self._cache else None
        score = parse(cached.answer) if cached else None
        return replace(score, calls=cached.tries) if cached and score else None

    def _cache_answer(self, picture: Image, question: str, answer: str, *, tries: int) -> None:
        if self._cache:
            self._cache.store(self._cache_key(picture, question), answer, model=self.settings.model, tries=tries)

    def _cache_key(self, picture: Image, question: str) -> str:
        settings = self.settings
        request = (question, settings.base_url, settings.model, settings.max_tokens, settings.temperature)
        return AnswerCache.key(picture, *map(str, request))

    def _error_message(self, error: Exception) -> str:
        """What went wrong and what to do, in one sentence without the key."""
        settings = self.settings
        repeated = is_transient(error) and settings.max_attempts > 1
        times = f" {settings.max_attempts} times" if repeated else ""
        return self._without_key(
            f"the judge {settings.model} at {settings.base_url} failed{times} ({describe(error, settings.timeout)}); "
            f"{advice(error, settings.key_variable)}."
        )

    def _without_key(self, text: str) -> str:
        """The text without the key, which a server may quote."""
        key = self._key()
        return text.replace(key, "***") if len(key) >= _SHORTEST_SECRET else text


@dataclass
class _Connection:
    """An event loop's client, the semaphore of its requests, and how many tasks use it now."""

    client: AsyncOpenAI
    semaphore: asyncio.Semaphore
    users: int = 0


def _check_address(base_url: str) -> None:
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        usable = False
    if not usable:
        raise UsageError("the judge's address is not an HTTP address; write one such as http://localhost:8000/v1.")
    if "@" in parts.netloc or parts.query:
        raise UsageError("the judge's address holds a password or a query; put the key into the environment instead.")


def _data_url(picture: Image) -> str:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _content(completion: Any) -> str:
    """The text of a completion's first choice, "" where it is empty; ValueError for anything but a completion."""
    choices: Any = getattr(completion, "choices", None)
    if choices == []:
        return ""
    try:
        content = choices[0].message.content
    except (TypeError, AttributeError):  # a web page, or the body of an error
        raise ValueError from None
    if not isinstance(content, str | None):
        raise ValueError
    return content or ""
