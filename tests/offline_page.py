"""A written page in a browser without a network, whose script must not complain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def offline_page(browser: Any, address: str) -> Iterator[Any]:
    """The page at `address`, which must ask nobody for anything."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(("data:", address))
            else problems.append(request.url))  # fmt: skip
    page.goto(address)
    yield page
    context.close()
    assert problems == []
