"""`milr.generate`: a session for one call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

from milr.types import Outcome, Outcomes, Prompt
from milr.workflows.generate_elsewhere import generate_elsewhere, is_elsewhere
from milr.workflows.prompts import Prompts, as_asked
from milr.workflows.session import SearchOptions, Session

if TYPE_CHECKING:
    from milr.base import UnifiedModel

CALL = ("out", "listener", "on_batch")


@overload
def generate(prompts: str | Prompt, *, model: str | Path | UnifiedModel = ...,  # type: ignore[overload-overlap]
             **options: Unpack[SearchOptions]) -> Outcome: ...  # fmt: skip


@overload
def generate(prompts: Prompts, *, samples: int, model: str | Path | UnifiedModel = ...,
             **options: Unpack[SearchOptions]) -> Outcomes: ...  # fmt: skip


@overload
def generate(prompts: Sequence[str | Prompt], *, model: str | Path | UnifiedModel = ...,
             **options: Unpack[SearchOptions]) -> Outcomes: ...  # fmt: skip


def generate(prompts: Prompts, *, samples: int | None = None, model: str | Path | UnifiedModel = "nano",
             **options: Unpack[SearchOptions]) -> Outcome | Outcomes:  # fmt: skip
    """Search for better pictures of one or many prompts, many of them in flight together; also inside a notebook.

    One prompt gives an `Outcome`; several, or `samples` pictures of each, give `Outcomes`: sample 0 of every prompt,
    then sample 1, and so on. With `out`, a run folder, finished samples are kept and the same call goes on. `model`: a
    name, folder, hub name or object. `options`: see `milr.workflows.session.SearchOptions` and `milr.Options`.
    MilrError, in one sentence, for what cannot be run. With `engine="ray"`, model, judges and method are named, and
    not given as objects.
    """
    if is_elsewhere(options):
        texts = [prompts] if isinstance(prompts, (str, Prompt)) else list(prompts)
        chosen = {**options, **({} if samples is None else {"samples": samples})}
        return as_asked(generate_elsewhere(texts, model, chosen), prompts, samples)
    with Session(model, **_of_the_session(options)) as session:
        return session.generate(prompts, **_of_the_call(options, samples))


@overload
async def agenerate(prompts: str | Prompt, *, model: str | Path | UnifiedModel = ...,  # type: ignore[overload-overlap]
                    **options: Unpack[SearchOptions]) -> Outcome: ...  # fmt: skip


@overload
async def agenerate(prompts: Prompts, *, samples: int, model: str | Path | UnifiedModel = ...,
                    **options: Unpack[SearchOptions]) -> Outcomes: ...  # fmt: skip


@overload
async def agenerate(prompts: Sequence[str | Prompt], *, model: str | Path | UnifiedModel = ...,
                    **options: Unpack[SearchOptions]) -> Outcomes: ...  # fmt: skip


async def agenerate(prompts: Prompts, *, samples: int | None = None, model: str | Path | UnifiedModel = "nano",
                    **options: Unpack[SearchOptions]) -> Outcome | Outcomes:  # fmt: skip
    """`generate` to be awaited, in any event loop; cancelling it stops the work."""
    import asyncio

    async with await asyncio.to_thread(lambda: Session(model, **_of_the_session(options))) as session:
        return await session.agenerate(prompts, **_of_the_call(options, samples))


def _of_the_session(options: Any) -> Any:
    return {name: value for name, value in options.items() if name not in CALL}


def _of_the_call(options: Any, samples: int | None) -> Any:
    call = {name: value for name, value in options.items() if name in CALL}
    return call if samples is None else call | {"samples": samples}
