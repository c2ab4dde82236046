"""`milr convert`: a Janus in DeepSeek's own form, written as transformers reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def convert(
    source: Annotated[str, typer.Argument(help="A folder or hub repository with DeepSeek's files.")],
    folder: Annotated[Path, typer.Argument(help="Where the converted checkpoint goes: a new folder.")],
) -> None:
    """Convert a Janus or Janus-Pro in DeepSeek's own form (multi_modality) to the form that transformers reads.

    Of pickled weights (.bin) tensors alone are read. Every weight is renamed and checked; none is computed.
    """
    from milr.models.conversion.deepseek import convert as convert_checkpoint

    typer.echo(f"converting {source}", err=True)
    written = convert_checkpoint(source, folder)
    size = f"{written.num_tensors} weights, {written.num_bytes / 1e9:.1f} GB"
    typer.echo(f"{written.folder}: {size}; use it with --model {written.folder}")
