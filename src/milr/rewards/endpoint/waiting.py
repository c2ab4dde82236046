"""For how long an endpoint asks us to wait, in whichever of the usual ways it says so."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WORDS = {"millisecond": "ms", "milliseconds": "ms", "msec": "ms", "sec": "s", "secs": "s", "second": "s",
          "seconds": "s", "min": "m", "mins": "m", "minute": "m", "minutes": "m", "hour": "h", "hours": "h", "hr": "h",
          "day": "d", "days": "d"}  # fmt: skip
_AMOUNT = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([a-z]{1,12})\s*", re.IGNORECASE)
_DURATION = re.compile(rf"(?:{_AMOUNT.pattern})+", re.IGNORECASE)
_IN_WORDS = re.compile(
    rf"(?:again|retry|wait|retryDelay)\W{{0,5}}(?:in|after|for)?\s*({_DURATION.pattern})", re.IGNORECASE
)
MAX_SEARCHED = 10_000  # characters of an error that are searched for a delay
_EPOCH = 1e9  # seconds; a larger number is a time, not a duration
_LIMITS = ("requests", "tokens", "input-tokens", "output-tokens")


def requested_wait(headers: Mapping[str, str], error: Any = None) -> float | None:
    """Seconds, at least 0; None where neither headers nor the error's words say.

    Read in this order: retry-after-ms, retry-after (seconds or an HTTP date), a delay in the error ("try again in
    1m12s", "retryDelay": "37s"), and when the used-up limits are reset (x-ratelimit-reset-requests: 6m0s).
    """
    readings = (
        _scaled(_number(headers.get("retry-after-ms")), 0.001),
        _number(headers.get("retry-after")),
        _until_date(headers.get("retry-after")),
        _in_words(error),
        _until_reset(headers),
    )
    return next((seconds for seconds in readings if seconds is not None), None)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return max(value, 0.0) if math.isfinite(value) else None


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _until_date(text: str | None) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(text or "").timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, OSError, IndexError):
        return None


def _in_words(error: Any) -> float | None:
    try:
        text = error if isinstance(error, str) else json.dumps(error)
    except (ValueError, TypeError, RecursionError):
        return None
    match = _IN_WORDS.search(text[:MAX_SEARCHED])
    return _duration(match[1]) if match else None


def _duration(text: str) -> float | None:
    """The seconds of "6m0s", "20ms", "1 minute 5 seconds"; None where a unit is none of time."""
    amounts = _AMOUNT.findall(text)
    factors = [_UNITS.get(_WORDS.get(unit.lower(), unit.lower())) for _, unit in amounts]
    seconds = [float(amount) * factor for (amount, _), factor in zip(amounts, factors, strict=True) if factor]
    return sum(seconds) if seconds and len(seconds) == len(amounts) else None


def _until_reset(headers: Mapping[str, str]) -> float | None:
    """The longest of the resets whose limit is used up."""
    waits = [_reset(headers.get(f"x-ratelimit-reset-{limit}")) for limit in _LIMITS
             if _number(headers.get(f"x-ratelimit-remaining-{limit}")) in (None, 0.0)]  # fmt: skip
    waits += [_reset(headers.get(name)) for name in ("x-ratelimit-reset", "ratelimit-reset")]
    return max((wait for wait in waits if wait is not None), default=None)


def _reset(text: str | None) -> float | None:
    """Seconds of a duration, or until a time in seconds or milliseconds since 1970."""
    value = _number(text)
    if value is None:
        return _duration(text) if text and _DURATION.fullmatch(text.strip()) else None
    if value > 1000 * _EPOCH:
        value /= 1000
    return max(0.0, value - time.time()) if value > _EPOCH else value
