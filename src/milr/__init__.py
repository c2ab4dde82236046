"""Test-time latent reasoning for unified text-and-image models (MILR, arXiv 2509.22761).

`milr.generate("a photo of a red star left of a blue circle")` gives an Outcome with `.picture` and `.score`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from milr.workflows.generate import agenerate, generate

__all__ = ["agenerate", "generate"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`generate` and `agenerate` load on first use, so that `import milr` stays light."""
    if name in __all__:
        from milr.workflows import generate as workflow

        return getattr(workflow, name)
    raise AttributeError(f"module 'milr' has no attribute {name!r}")
