"""Prompts as users give them: read from a file, and checked against what the model can read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milr.inputs.json_text import JsonError, check_depth
from milr.templates import fill, split_reasoning
from milr.types import Prompt, UsageError

if TYPE_CHECKING:
    from milr.base import UnifiedModel, World
    from milr.options import Options


def read_prompts(path: Path) -> list[Prompt]:
    """Prompts from a file: one a line, or JSON lines with a "prompt" field. Empty lines are skipped.

    JSON lines in GenEval's format keep their metadata and the line itself. UsageError, naming the line, for what cannot
    be read.
    """
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")  # not at every Unicode line separator
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read prompts from {path}: {getattr(error, 'strerror', None) or error}.") from error
    prompts = [_from_line(line, path, number) for number, line in enumerate(lines, 1) if line.strip()]
    if not prompts:
        raise UsageError(f"{path} holds no prompts; write one a line.")
    return prompts


def _from_line(line: str, path: Path, number: int) -> Prompt:
    if path.suffix != ".jsonl":
        return Prompt(line.strip())
    try:
        content: dict[str, Any] = json.loads(line)
        text = content["prompt"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f'{path}, line {number}: not a JSON object with a "prompt" field.') from error
    if not isinstance(text, str):
        raise UsageError(f"{path}, line {number}: the prompt is no text.")
    has_clauses = isinstance(content.get("include"), list)
    return Prompt(text.strip(), category=str(content.get("tag", "")) if has_clauses else "",
                  metadata=content if has_clauses else None, source=line.rstrip("\r"))  # fmt: skip


def checked_prompts(texts: Sequence[str | Prompt], model: UnifiedModel) -> tuple[Prompt, ...]:
    """Prompts that the model can read, trimmed, each once, completed by its world (`complete`).

    UsageError for the first that it cannot read, and for metadata that cannot be written as JSON.
    """
    world = world_of(model)
    prompts: dict[str, Prompt] = {}
    for text in texts:
        prompt = text if isinstance(text, Prompt) else Prompt(text)
        prompt = replace(prompt, text=prompt.text.strip())
        _check(prompt.text, model, "prompt")
        _check_metadata(prompt)
        prompt = complete(prompt, world)
        prompts.setdefault(f"{prompt.id}\0{prompt.text}", prompt)
    return tuple(prompts.values())


def complete(prompt: Prompt, world: World | None) -> Prompt:
    """The prompt, with the category and metadata of the world's grammar where it has none of its own."""
    read = world.read(prompt.text, prompt.id) if world else None
    if read is None:
        return prompt
    return replace(prompt, category=prompt.category or read.category,
                   metadata=read.metadata if prompt.metadata is None else prompt.metadata)  # fmt: skip


def check_texts(options: Options, prompts: Sequence[Prompt], model: UnifiedModel) -> None:
    """UsageError where the model cannot read the user's visualisation or reasoning prompt."""
    if options.visualisation is not None:
        _check(options.visualisation, model, "visualisation")
    if options.reasoning_prompt is not None:
        system, turn = split_reasoning(options.reasoning_prompt)
        _check(f"{system or ''} {fill(turn, prompts[0].text)}".strip(), model, "reasoning prompt")


def outside_the_world(prompts: Sequence[Prompt], model: UnifiedModel) -> tuple[str, ...]:
    """A warning where the model draws one small world only and prompts are not about it; else none."""
    world = world_of(model)
    outside = [prompt.text for prompt in prompts if world.read(prompt.text) is None] if world else []
    if not world or not outside:
        return ()
    others = len(outside) - 1
    subject = {0: f"{outside[0]!r} is", 1: f"{outside[0]!r} and 1 other prompt are"}.get(
        others, f"{outside[0]!r} and {others} other prompts are")  # fmt: skip
    pictures = "pictures" if others else "a picture"
    return (f"{model.name} draws one small world only, and {subject} not about it: expect {pictures} of "
            f"something else. {world.advice(outside[0])}",)  # fmt: skip


def world_of(model: UnifiedModel) -> World | None:
    """The small world that the model draws; None where it draws anything."""
    world: World | None = getattr(model, "world", None)
    return world


def _check_metadata(prompt: Prompt) -> None:
    """UsageError for metadata that cannot be kept with a run."""
    try:
        check_depth(prompt.metadata)
        json.dumps(prompt.metadata)
    except JsonError as error:
        raise UsageError(f"the metadata of {prompt.text!r} {error}: simplify it.") from None
    except (TypeError, ValueError) as error:
        raise UsageError(f"the metadata of {prompt.text!r} is no JSON ({error}): use texts, numbers, lists and "
                         "objects.") from None  # fmt: skip


def _check(text: str, model: UnifiedModel, what: str) -> None:
    """UsageError, about `what`, where the model cannot read `text`."""
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise UsageError(f"the {what} is not valid Unicode; write it in UTF-8.")
    if what != "prompt" and not text.strip():
        raise UsageError(f"the {what} is empty; leave it out, or write one.")
    try:
        model.check(text)
    except UsageError as error:
        sentence, world = str(error).replace("the prompt", f"the {what}", 1), world_of(model)
        advice = f" {world.advice(text)}" if world and text.strip() else ""
        raise UsageError(f"{sentence}{advice}") from error
