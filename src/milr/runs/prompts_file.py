"""prompts.jsonl: the prompts of a run, one in a line, in the order that official layouts and reports follow."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter

from milr.runs.config import prompts_digest
from milr.runs.files import DamagedError, read_bounded, write_atomically
from milr.types import Prompt

NAME = "prompts.jsonl"
MAX_BYTES = 2**28
_PROMPT = TypeAdapter(Prompt)


def read_prompts(folder: Path, digest: str) -> list[Prompt] | None:
    """The prompts in `folder`; None where an older version wrote no such file.

    DamagedError where the file cannot be read, or its prompts have another `digest` ("": not known).
    """
    path = folder / NAME
    try:
        lines = read_bounded(path, MAX_BYTES).split(b"\n")
        prompts = [_PROMPT.validate_json(line) for line in lines if line]
        damaged = not prompts or (digest and prompts_digest(prompts) != digest)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedError(f"{path} cannot be read ({error.strerror}): mend that, or choose another --out.") from None
    except ValueError:  # no JSON, no object, or a field of another type
        damaged = True
    if damaged:
        raise DamagedError(f"{path} is damaged: the command that made the run writes it again.")
    return prompts


def write_prompts(folder: Path, prompts: Sequence[Prompt]) -> None:
    """Write the prompts, so that they survive a power cut."""
    lines = [json.dumps(dataclasses.asdict(prompt)) for prompt in prompts]
    write_atomically(folder / NAME, "\n".join([*lines, ""]).encode(), durable=True)
