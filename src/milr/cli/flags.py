"""Dataclasses as command-line flags: a command takes a few records instead of a parameter for each flag."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, get_origin, get_type_hints

import typer

from milr.options import Options

Command = Callable[..., Any]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Out = Annotated[Path | None, typer.Option(help="Run folder. Default: runs/WORDS-DIGEST.")]
Track = Annotated[
    str | None, typer.Option(help="Write for a tracker, too, below the run's folder: tensorboard or trackio.")
]


@dataclasses.dataclass(frozen=True)
class PromptFlags:
    """Which of a benchmark's prompts a command takes; None and "" leave the choice to the benchmark."""

    split: Annotated[
        str | None, typer.Option(help="Of shapes: test (default), development, hard, hard-second or hard-development.")
    ] = None
    prompts: Annotated[Path | None, typer.Option(help="A local copy of the benchmark's prompt files.")] = None
    categories: Annotated[str | None, typer.Option(help="Only these, with commas between them.")] = None
    limit: Annotated[int | None, typer.Option(help="Only so many prompts, spread evenly over the list.")] = None

    def benchmark_settings(self) -> dict[str, Any]:
        """The settings of the benchmark's factory that were given."""
        return {name: value for name in ("split", "prompts") if (value := getattr(self, name)) is not None}

    def category_names(self) -> list[str]:
        """The categories that were given, without the commas."""
        return [name.strip() for name in self.categories.split(",")] if self.categories else []


def with_flags(*left_out: str) -> Callable[[Command], Command]:
    """Give a command one flag for each field of each parameter whose type is a dataclass.

    The command is called with these records, made from the flags. Fields of `Options` named in `left_out` get no flag
    and keep their defaults. A field's help is in its annotation, or under "help" in its metadata.
    """

    def decorate(command: Command) -> Command:
        hints = get_type_hints(command, include_extras=True)
        kinds = {name: hints[name] for name in signature(command).parameters if dataclasses.is_dataclass(hints[name])}
        flags = {name: _flags_of(kind, left_out if kind is Options else ()) for name, kind in kinds.items()}

        def run_command(**values: Any) -> Any:
            records = {name: kind(**{flag.name: values.pop(flag.name) for flag in flags[name]})
                       for name, kind in kinds.items()}  # fmt: skip
            return command(**records, **values)

        parameters: list[Parameter] = []
        for name, parameter in signature(command).parameters.items():
            alone = parameter.replace(annotation=hints[name], kind=Parameter.KEYWORD_ONLY)
            parameters += flags.get(name, [alone])
        run_command.__name__, run_command.__doc__ = command.__name__, command.__doc__
        run_command.__signature__ = signature(command).replace(parameters=parameters)  # type: ignore[attr-defined]
        run_command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run_command

    return decorate


def _flags_of(kind: type, left_out: tuple[str, ...]) -> list[Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    fields = [field for field in dataclasses.fields(kind) if field.name not in left_out]
    return [Parameter(field.name, Parameter.KEYWORD_ONLY, annotation=_annotation(field, hints[field.name]),
                      default=Parameter.empty if field.default is dataclasses.MISSING else field.default)
            for field in fields]  # fmt: skip


def _annotation(field: dataclasses.Field[Any], hint: Any) -> Any:
    return hint if get_origin(hint) is Annotated else Annotated[hint, typer.Option(help=field.metadata["help"])]
