"""Names of hub repositories, as users write them. Loads nothing."""

from __future__ import annotations

import re

_NAME = re.compile(r"\w[\w.-]*/[\w.-]+")
_ADDRESS = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/(.*)")
_BRANCH = re.compile(r"/tree/main$")


def plain_name(name: str) -> str:
    """`owner/name` of a repository's address on the hub; anything else as it is. Slashes at the end are left out."""
    address = _ADDRESS.fullmatch(name.strip())
    text = address.group(1).partition("?")[0].partition("#")[0] if address else name
    text = text.rstrip("/") or name
    return _BRANCH.sub("", text) if address else text


def is_hub_name(name: str) -> bool:
    """Whether `name` has the form owner/name."""
    return _NAME.fullmatch(name) is not None
