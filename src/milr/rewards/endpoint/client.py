"""A judge behind any OpenAI-compatible chat endpoint (OpenAI, vLLM, SGLang, Ollama), through the official client.

Requests are made through `openai` and repeated by `tenacity` (the extra `judge`). The key comes from the environment
and goes nowhere but into the request: no setting, record, cached answer or error holds it.
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
from milr.rewards.endpoint.failures import advice, may_pass, retry_after, why
from milr.rewards.endpoint.question_reward import Read
from milr.types import JudgeError, MissingError, Score, UsageError

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from PIL.Image import Image
    from tenacity import AsyncRetrying, RetryCallState

NO_KEY = "none"  # what an endpoint that wants no key is sent in its place: the client insists on one
END = 200  # characters of an answer that could not be read are told, its last
_OPENAI = "api.openai.com"
_SECRET = 8  # characters; a shorter key, such as "x" for a local server, is no secret and may occur in answers


@dataclass(frozen=True)
class EndpointSettings:
    """Where and how to ask. `attempts` counts requests for one answer, `tries` answers until one can be read.

    `max_tokens` leaves room for models that reason before they answer; a short answer costs no more for it. `timeout`
    is in seconds for one request, `first_wait` and `longest_wait` are the back-off's. `most_calls` caps the
    requests of this process (None: no cap). `cache` is a folder for answers (None: none is kept).
    """

    base_url: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    max_tokens: int = 4096
    temperature: float = 0.0
    concurrency: int = 8
    attempts: int = 4
    tries: int = 3
    timeout: float = 300.0
    most_calls: int | None = None
    cache: Path | None = None
    first_wait: float = 1.0
    longest_wait: float = 60.0

    def __post_init__(self) -> None:
        _check_address(self.base_url)
        if not self.model:
            raise UsageError("the judge's model has no name; give the name its endpoint knows it by.")
        for name in ("max_tokens", "concurrency", "attempts", "tries"):
            if getattr(self, name) < 1:
                raise UsageError(f"the judge's {name} is at least 1, not {getattr(self, name)}.")
        if self.timeout <= 0 or self.temperature < 0 or (self.most_calls or 0) < 0:
            raise UsageError("the judge's timeout is above 0, and its temperature and its cap on calls are not below.")


class Endpoint:
    """An `Asker` behind HTTP. `calls` counts the requests sent; usable from one event loop after another."""

    def __init__(self, settings: EndpointSettings) -> None:
        for package in ("openai", "tenacity"):
            if find_spec(package) is None:
                raise MissingError(f"a judge at an endpoint needs the package {package}: pip install 'milr[judge]'.")
        self.settings = settings
        self.calls = 0
        self._lines: dict[asyncio.AbstractEventLoop, _Line] = {}
        self._answers = AnswerCache(settings.cache) if settings.cache else None
        self._key()  # missing or unusable: said now, not after the first picture

    def identity(self) -> dict[str, Any]:
        """What makes two judges the same: model, address, temperature and the length of answers."""
        names = ("model", "base_url", "max_tokens", "temperature")
        return {name: getattr(self.settings, name) for name in names}

    async def judge(self, picture: Image, question: str, read: Read) -> Score:
        """The score that `read` makes of the answer, asking again while it makes none of it.

        A kept answer costs no request; only answers that could be read are kept. `calls` of the score counts answers,
        the same whether they were kept or not.
        """
        tries = 0
        try:
            if (kept := self._kept(picture, question, read)) is not None:
                return kept
            async with self._open():
                for tries in range(1, self.settings.tries + 1):
                    answer = await self.ask(picture, question)
                    if (score := read(answer)) is not None:
                        self._keep(picture, question, answer, tries)
                        return replace(score, calls=tries)
        except JudgeError as error:
            return Score.unscored(str(error), calls=tries)
        return Score.unscored(f"the judge's answer could not be read in {tries} tries: {answer[-END:]!r}", calls=tries)

    async def ask(self, picture: Image, question: str) -> str:
        """The endpoint's words about a picture ("" where it has none); JudgeError where it fails for good."""
        from openai import OpenAIError

        content = [{"type": "image_url", "image_url": {"url": _data_url(picture)}}, {"type": "text", "text": question}]
        async with self._open() as line, line.turns:
            try:
                return await self._retrying()(self._request, line.client, content)
            except (OpenAIError, TimeoutError, ValueError) as error:  # ValueError: the body was no JSON
                raise JudgeError(self._told(error)) from None  # what it came from may quote the key

    async def _request(self, client: AsyncOpenAI, content: Any) -> str:
        most = self.settings.most_calls
        if most is not None and self.calls >= most:
            raise JudgeError(f"the cap of {most} calls to {self.settings.model} is reached: raise --judge-calls"
                             )  # fmt: skip
        self.calls += 1
        create = client.chat.completions.create  # loads most of the client, which is none of the endpoint's time
        async with asyncio.timeout(self.settings.timeout):
            completion = await create(
                model=self.settings.model, messages=[{"role": "user", "content": content}],
                max_tokens=self.settings.max_tokens, temperature=self.settings.temperature,
            )  # fmt: skip
        return self._hidden(_text(completion))

    def _retrying(self) -> AsyncRetrying:
        import tenacity

        backoff = tenacity.wait_exponential_jitter(
            initial=self.settings.first_wait, max=self.settings.longest_wait, jitter=self.settings.first_wait
        )

        def wait(state: RetryCallState) -> float:
            told = retry_after(state.outcome.exception() if state.outcome else None)
            return backoff(state) if told is None else min(told, self.settings.longest_wait)

        return tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(self.settings.attempts), wait=wait,
            retry=tenacity.retry_if_exception(may_pass), reraise=True,
        )  # fmt: skip

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[_Line]:
        """This event loop's client and turns; it is closed when nobody uses it, so that no loop ends with it open."""
        loop = asyncio.get_running_loop()
        if loop not in self._lines:
            self._lines[loop] = _Line(self._client(), asyncio.Semaphore(self.settings.concurrency))
        line = self._lines[loop]
        line.users += 1
        try:
            yield line
        finally:
            line.users -= 1
            if not line.users:
                del self._lines[loop]
                await line.client.close()

    def _client(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI

        return AsyncOpenAI(api_key=self._key(), base_url=self.settings.base_url, max_retries=0, timeout=None)

    def _key(self) -> str:
        variable = self.settings.key_variable
        key = os.environ.get(variable, "").strip()
        if not key and urlsplit(self.settings.base_url).hostname == _OPENAI:
            raise MissingError(f"the judge at {_OPENAI} needs a key: put it into the environment variable {variable}.")
        if not (key.isascii() and key.isprintable()):
            raise UsageError(f"the key in the environment variable {variable} is no plain text; put it in anew.")
        return key or NO_KEY

    def _kept(self, picture: Image, question: str, read: Read) -> Score | None:
        found = self._answers.find(self._name(picture, question)) if self._answers else None
        score = read(found.answer) if found else None
        return replace(score, calls=found.tries) if found and score else None

    def _keep(self, picture: Image, question: str, answer: str, tries: int) -> None:
        if self._answers:
            self._answers.keep(self._name(picture, question), self.settings.model, answer, tries)

    def _name(self, picture: Image, question: str) -> str:
        settings = self.settings
        asked = (question, settings.base_url, settings.model, settings.max_tokens, settings.temperature)
        return AnswerCache.name(picture, *map(str, asked))

    def _told(self, error: Exception) -> str:
        """What went wrong and what to do, in one sentence that holds no key."""
        settings, lasting = self.settings, not may_pass(error)
        often = "" if lasting or settings.attempts == 1 else f" {settings.attempts} times"
        what = why(error, settings.timeout)
        return self._hidden(
            f"the judge {settings.model} at {settings.base_url} failed{often} ({what}); "
            f"{advice(error, settings.key_variable)}."
        )

    def _hidden(self, text: str) -> str:
        """The text without the key, which a server may quote."""
        key = self._key()
        return text.replace(key, "***") if len(key) >= _SECRET else text


@dataclass
class _Line:
    client: AsyncOpenAI
    turns: asyncio.Semaphore
    users: int = 0


def _check_address(base_url: str) -> None:
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        usable = False
    if not usable:
        raise UsageError("the judge's address is no http address; write one such as http://localhost:8000/v1.")
    if "@" in parts.netloc or parts.query:
        raise UsageError("the judge's address holds a password or a query; put the key into the environment instead.")


def _data_url(picture: Image) -> str:
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _text(completion: Any) -> str:
    """The first choice's words; "" where the endpoint chose to say nothing. ValueError for what is no completion."""
    choices: Any = getattr(completion, "choices", None)
    if choices == []:
        return ""
    try:
        content = choices[0].message.content
    except (TypeError, AttributeError):  # a web page, an error's body
        raise ValueError from None
    if not isinstance(content, str | None):
        raise ValueError
    return content or ""
