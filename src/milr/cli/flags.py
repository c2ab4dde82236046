"""`Options` as command-line flags, once for all commands that take them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from inspect import Parameter, signature
from typing import Annotated, Any, get_type_hints

import typer

from milr.options import Options


def with_options(*left_out: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A command with a parameter `options`: it gets them from flags, one for each field that is not left out."""
    hints = get_type_hints(Options)
    shared = {
        field.name: Parameter(
            field.name, Parameter.KEYWORD_ONLY, default=field.default,
            annotation=Annotated[hints[field.name], typer.Option(help=field.metadata["help"])],
        )
        for field in dataclasses.fields(Options) if field.name not in left_out
    }  # fmt: skip

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own = get_type_hints(command, include_extras=True)
        given = [
            parameter.replace(annotation=own[name], kind=Parameter.KEYWORD_ONLY)
            for name, parameter in signature(command).parameters.items()
            if name != "options"
        ]

        def called(**values: Any) -> Any:
            chosen = {name: values.pop(name) for name in shared}
            return command(options=Options(**chosen), **values)

        called.__name__, called.__doc__ = command.__name__, command.__doc__
        every = [*given, *shared.values()]
        called.__signature__ = signature(command).replace(parameters=every)  # type: ignore[attr-defined]
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in every}
        return called

    return decorate
