"""Rendering of the package's HTML templates; every page carries the same style sheet."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup


def render_template(name: str, **values: Any) -> str:
    """The template `name` of this room, filled with `values`; everything but markup is escaped."""
    environment = Environment(loader=FunctionLoader(_read_resource), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    environment.globals["resource"] = lambda file: Markup(_read_resource(file))
    environment.filters["policy_hash"] = _policy_hash
    environment.filters["unbroken"] = _unbroken
    environment.filters["breakable"] = _breakable
    return environment.get_template(name).render(**values)


def _unbroken(numbers: str) -> str:
    """A cell whose intervals and p values stay on one line each."""
    return re.sub(r"\[[^\]]*\]|\bp \S+", lambda part: part.group().replace(" ", "\N{NO-BREAK SPACE}"), numbers)


def _breakable(name: str) -> Markup:
    """A name that may break after its underscores."""
    return Markup("_<wbr>").join(name.split("_"))


def _policy_hash(script: str) -> str:
    """The name under which a page's content security policy allows a script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _read_resource(name: str) -> str:
    return resources.files("milr.report").joinpath(name).read_text(encoding="utf-8")
