"""SECURITY.md promises nothing without a test that holds the code to it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "SECURITY.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(test_\w+\.py)::(\w+)`", PAGE)
PROMISES = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| promise |")]


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_the_page_names_exists(file: str, name: str) -> None:
    assert name in functions_of(TESTS / file)


def functions_of(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


def test_every_promise_has_a_test() -> None:
    assert len(PROMISES) >= 21 and len(NAMED) > len(PROMISES)
    for promise in PROMISES:
        assert re.search(r"\| `test_\w+\.py::\w+`(, `test_\w+\.py::\w+`)* \|$", promise), promise


def test_a_test_that_is_gone_would_be_seen() -> None:
    assert "test_no_such_promise" not in functions_of(Path(__file__)) and functions_of(Path(__file__))
