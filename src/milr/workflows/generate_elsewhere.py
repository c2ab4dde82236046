"""`milr.generate` where searches go on in other processes: a run on an engine that the options name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milr import catalog
from milr.options import Options
from milr.runs.events import Listeners, all_listeners
from milr.types import Outcome, Prompt, UsageError
from milr.workflows.background import BackgroundLoop
from milr.workflows.engines import ready_run
from milr.workflows.notebook import progress_bars
from milr.workflows.running import run
from milr.workflows.unscored import reasons_of, warn, warn_unscored

if TYPE_CHECKING:
    from milr.base import UnifiedModel

NAMED = ("reward", "choose", "metric", "method")
NOT_OPTIONS = ("out", "listener", "on_batch")


def is_elsewhere(options: Mapping[str, Any]) -> bool:
    """Whether keywords of a call name another engine than this process."""
    return options.get("engine", "local") != "local"


def generate_elsewhere(texts: Sequence[str | Prompt], model: str | Path | UnifiedModel, keywords: Mapping[str, Any]
                       ) -> list[Outcome]:  # fmt: skip
    """All outcomes of the call, in the order of its run. UsageError where a part is an object and not a name."""
    for name, part in {"model": model, **{name: keywords.get(name) for name in NAMED}}.items():
        if not isinstance(part, (str, Path, type(None))):
            raise UsageError(f"on another engine than this process a {name} is named, and made there: give a name or "
                             "path/to/file.py:name.")  # fmt: skip
    chosen = {name: value for name, value in keywords.items() if name not in NOT_OPTIONS}
    for name in chosen:
        catalog.one_of("option", name, sorted(Options.__dataclass_fields__))
    options, loop = Options(model=str(model), **chosen), BackgroundLoop("milr-run")
    with ready_run(texts, options) as plan:
        warn(plan.warnings)
        listeners = Listeners(*all_listeners(keywords.get("listener")), *progress_bars(plan))
        try:
            outcomes = loop.submit(run(plan, out=keywords.get("out"), listeners=listeners)).wait()
        finally:
            loop.close(lambda: None)
    config = plan.config()
    warn(listeners.failures)
    warn_unscored(reasons_of(outcomes), config.reward, config.report_metric)
    return outcomes
