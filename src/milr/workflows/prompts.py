"""Prompts as users give them: read from a file, and checked against what the model can read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from milr.inputs.json_text import JsonError, check_depth
from milr.inputs.rows import Row, find_column, read_rows, refuse
from milr.inputs.text import control_character, shows_something, trim
from milr.templates import fill, split_reasoning
from milr.types import Outcome, Outcomes, Prompt, UsageError

if TYPE_CHECKING:
    from milr.base import UnifiedModel, World
    from milr.options import Options

Prompts = str | Prompt | Sequence[str | Prompt]
"""Prompts as a caller gives them."""

COLUMNS = ("prompt", "text", "caption")  # under one of which a table or JSON has the prompt, in this order
CATEGORY = "category"
MAX_LETTERS = 20_000  # of a prompt
EMPTY = "is empty"


def read_prompts(path: Path, *, categories: bool = False) -> list[Prompt]:
    """Prompts from a file of plain lines, JSON lines, a JSON array (of objects or strings), or a table with a header.

    What it is, its content says (`inputs.rows`). Objects and tables have the prompt in a column of `COLUMNS`. Lines
    that show nothing are skipped. Objects in GenEval's format keep their metadata and the line itself. With
    `categories` a field or column "category" is the prompt's. UsageError, telling all lines that cannot be read.
    """
    rows = read_rows(path, COLUMNS)
    column = find_column(rows, COLUMNS)
    prompts, problems = [], []
    for row in rows:
        try:
            prompt = prompt_of_row(row, column)
            named = row.value.get(CATEGORY) if categories and isinstance(row.value, dict) else None
            prompts.append(replace(prompt, category=trim(named)) if isinstance(named, str) else prompt)
        except ValueError as error:
            problems.append((row.label, str(error)))
    refuse(path, problems)
    if not prompts:
        raise UsageError(f"{path} holds no prompts; write one a line.")
    return prompts


def prompt_of_row(row: Row, column: str) -> Prompt:
    """The prompt of a row; ValueError, with the problem, where it has none."""
    if row.problem:
        raise ValueError(row.problem)
    fields = row.value if isinstance(row.value, dict) else {column: row.value}
    if column not in fields or not isinstance(row.value, (dict, str)):
        raise ValueError(f'not a JSON object with a "{column}" field')
    text = fields[column]
    if not isinstance(text, str):
        raise ValueError("the prompt is no text")
    if problem := text_problem(text):
        raise ValueError(f"the prompt {problem}")
    if not isinstance(fields.get("include"), list):
        return Prompt(trim(text), source=row.source)
    return Prompt(trim(text), category=str(fields.get("tag", "")), metadata=fields, source=row.source)


def text_problem(text: str) -> str:
    """Why a text is no prompt, as the end of a sentence; "" where it may be one."""
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        return "is not valid Unicode; write it in UTF-8"
    if len(text) > MAX_LETTERS:
        return f"has {len(text)} letters, and at most {MAX_LETTERS} are read"
    if not shows_something(text):
        return EMPTY
    control = control_character(text)
    return f"holds the control character {control}" if control else ""


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
    if problem := text_problem(text):
        remedy = "say what to draw" if what == "prompt" else "leave it out, or write one"
        raise UsageError(f"the {what} {problem}{f'; {remedy}' if problem == EMPTY else ''}.")
    try:
        model.check(text)
    except UsageError as error:
        sentence, world = str(error).replace("the prompt", f"the {what}", 1), world_of(model)
        advice = f" {world.advice(text)}" if world else ""
        raise UsageError(f"{sentence}{advice}") from error


def as_asked(outcomes: list[Outcome], prompts: Prompts, samples: int | None) -> Outcome | Outcomes:
    """One outcome for one prompt without `samples`, else all of them."""
    alone = isinstance(prompts, (str, Prompt)) and samples is None
    return outcomes[0] if alone else Outcomes(outcomes)
