"""A run made ready wherever the options say that its searches go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from milr.options import Options
from milr.types import Prompt
from milr.workflows.searcher import RAY, RunPlan

if TYPE_CHECKING:
    from milr.base import Benchmark


@contextmanager
def ready_run(texts: Sequence[str | Prompt], options: Options, *, benchmark: Benchmark | None = None, label: str = ""
              ) -> Iterator[RunPlan]:  # fmt: skip
    """The run that the options and prompts ask for, on the engine that they ask for; errors as `prepare`."""
    if options.engine == RAY:
        from milr.workflows.ray_run import ray_run

        with ray_run(texts, options, benchmark=benchmark, label=label) as run:
            yield run
    else:
        from milr.workflows.prepare import prepare

        yield prepare(texts, options, benchmark=benchmark, label=label)
