"""Test-time latent reasoning for unified text-and-image models (MILR, arXiv 2509.22761).

`milr.generate("a photo of a red star left of a blue circle")` gives an `Outcome` with `.picture` and `.score`;
`milr.load("nano")` a `Session` that keeps the model for many calls; `milr.load_run(folder)` a run from disk.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from milr.options import Options
    from milr.types import (
        JudgeError,
        MilrError,
        MilrWarning,
        MissingError,
        Outcome,
        Outcomes,
        Prompt,
        Score,
        Step,
        UsageError,
    )
    from milr.workflows.generate import agenerate, generate
    from milr.workflows.session import Session, load
    from milr.workflows.stored import Run, load_run

__all__ = ["JudgeError", "MilrError", "MilrWarning", "MissingError", "Options", "Outcome", "Outcomes", "Prompt", "Run",
           "Score", "Session", "Step", "UsageError", "agenerate", "generate", "load", "load_run"]  # fmt: skip
__version__ = "0.1.0"

_ROOMS = {"Options": "options", "Run": "workflows.stored", "load_run": "workflows.stored",
          "Session": "workflows.session", "load": "workflows.session",
          "generate": "workflows.generate", "agenerate": "workflows.generate"}  # fmt: skip


if not TYPE_CHECKING:  # or a type checker would take every name for one of ours

    def __getattr__(name: str) -> Any:
        """Public names load on first use, so that `import milr` stays light."""
        if name in __all__:
            return getattr(import_module(f"milr.{_ROOMS.get(name, 'types')}"), name)
        raise AttributeError(f"module 'milr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
