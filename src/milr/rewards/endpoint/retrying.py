"""How often and after how long a question is asked again: soon where a failure may pass, patiently where it is busy."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from milr.rewards.endpoint.failures import EndpointFailure
from milr.rewards.endpoint.settings import EndpointSettings

if TYPE_CHECKING:
    from tenacity import AsyncRetrying, RetryCallState

Answer = TypeVar("Answer")
LONGEST_BACKOFF = 60.0  # seconds between two attempts where the server does not say how long to wait
MAX_BUSY_ATTEMPTS = 200  # requests for one answer to a server that is busy


def until_not_transient(settings: EndpointSettings) -> AsyncRetrying:
    """Repeats what fails in a way that may pass, `max_attempts` times in all."""
    import tenacity

    return tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(settings.max_attempts), wait=lambda state: _wait(settings, state),
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, EndpointFailure) and error.transient),
        reraise=True,
    )  # fmt: skip


def _wait(settings: EndpointSettings, state: RetryCallState) -> float:
    """What the server asks for, or twice as long as before, with a random part so that not all come at once."""
    import tenacity

    failure = state.outcome.exception() if state.outcome else None
    jitter = random.uniform(0, settings.first_wait)
    if isinstance(failure, EndpointFailure) and failure.wait is not None:
        return min(failure.wait + jitter, settings.longest_wait)
    backoff = tenacity.wait_exponential(multiplier=settings.first_wait, max=LONGEST_BACKOFF)
    return min(backoff(state) + jitter, settings.longest_wait)


class BusyLine:
    """Those who wait for a server that is busy: the first of them asks again, and the others queue behind it.

    So each gets its turn, and no one's patience runs out while the others are served. Where the first gives up, so do
    those who queued behind it.
    """

    def __init__(self, settings: EndpointSettings) -> None:
        self._settings = settings
        self._line = asyncio.Lock()
        self._open_at = 0.0  # the loop's time before which nobody in the line asks
        self._given_up: EndpointFailure | None = None
        self._times_given_up = 0

    async def ask(self, attempt: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer of `attempt`, repeated while the server is busy and patience lasts; EndpointFailure after that."""
        try:
            return await attempt()
        except EndpointFailure as failure:
            if not failure.busy or self._is_hopeless(failure):
                raise
            now = asyncio.get_running_loop().time()
            wait = self._settings.first_wait if failure.wait is None else failure.wait
            self._open_at = max(self._open_at, now + min(wait, self._settings.longest_wait))
            times = self._times_given_up
        async with self._line:
            if self._times_given_up > times and self._given_up:
                raise self._given_up
            await asyncio.sleep(max(0.0, self._open_at - asyncio.get_running_loop().time()))
            return await self._ask_first(attempt)

    async def _ask_first(self, attempt: Callable[[], Awaitable[Answer]]) -> Answer:
        try:
            return await self._patiently()(attempt)
        except EndpointFailure as failure:
            if failure.busy:
                self._given_up, self._times_given_up = failure, self._times_given_up + 1
            raise

    def _patiently(self) -> AsyncRetrying:
        import tenacity

        def is_out_of_patience(state: RetryCallState) -> bool:
            failure = state.outcome.exception() if state.outcome else None
            hopeless = isinstance(failure, EndpointFailure) and self._is_hopeless(failure)
            waited = state.idle_for + state.upcoming_sleep
            return hopeless or waited > self._settings.patience or state.attempt_number >= MAX_BUSY_ATTEMPTS

        return tenacity.AsyncRetrying(
            stop=is_out_of_patience, wait=lambda state: _wait(self._settings, state),
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, EndpointFailure) and error.busy),
            reraise=True,
        )  # fmt: skip

    def _is_hopeless(self, failure: EndpointFailure) -> bool:
        """Whether the server asks for a longer wait than our patience."""
        return failure.wait is not None and failure.wait > self._settings.patience
