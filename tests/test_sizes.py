"""How large things in `src/` may be, and that nothing stands there twice."""

from __future__ import annotations

import ast
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "milr"
FILES = sorted(PACKAGE.rglob("*.py"))
SAME = 6  # lines that may not stand twice
LONGEST_FUNCTION, MEDIAN_FUNCTION, MOST_PARAMETERS, LONGEST_FILE = 50, 8, 8, 340

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(text: str) -> Iterator[tuple[Function, int]]:
    """Every function with the length of its body, the docstring left out."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, Function):
            documented = node.body[0] if ast.get_docstring(node) is not None else None
            left_out = (documented.end_lineno or 0) - documented.lineno + 1 if documented else 0
            yield node, (node.end_lineno or 0) - node.lineno + 1 - left_out


def parameters(function: Function) -> int:
    return len([*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs])


def code_lines(text: str) -> list[tuple[int, str]]:
    """Numbered lines that say something: no blanks, comments, imports, lone brackets or docstrings."""
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        docstring = (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        )
        if docstring or isinstance(node, (ast.Import, ast.ImportFrom)):
            left_out |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))  # type: ignore[attr-defined]
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if number not in left_out)
    return [(number, line) for number, line in lines if line and not line.startswith("#") and line.strip("()[]{},: ")]


def repeated(texts: dict[str, str]) -> list[str]:
    """Places at which SAME lines begin that stand somewhere else, too."""
    places: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, text in texts.items():
        lines = code_lines(text)
        for start in range(len(lines) - SAME + 1):
            places[tuple(line for _, line in lines[start : start + SAME])].append(f"{name}:{lines[start][0]}")
    return sorted(" = ".join(found) for found in places.values() if len(found) > 1)


def test_no_six_lines_stand_twice() -> None:
    assert repeated({path.relative_to(PACKAGE).as_posix(): path.read_text() for path in FILES}) == []


def test_a_repetition_would_be_seen() -> None:
    lines = "\n".join(f"x{number} = {number}" for number in range(SAME))
    assert repeated({"a": lines, "b": f"# other\n{lines}"}) == ["a:1 = b:2"]
    assert repeated({"a": lines, "b": lines.replace("x3", "y3")}) == []


def test_functions_are_short_and_take_few_parameters() -> None:
    sizes = []
    for path in FILES:
        for function, size in functions(path.read_text()):
            sizes.append(size)
            assert size <= LONGEST_FUNCTION, f"{path}:{function.lineno} {function.name} has {size} lines"
            count = parameters(function)
            assert count <= MOST_PARAMETERS, f"{path}:{function.lineno} {function.name} takes {count} parameters"
    assert statistics.median(sizes) <= MEDIAN_FUNCTION


def test_files_are_short() -> None:
    long = {path.name: count for path in FILES if (count := len(path.read_text().splitlines())) > LONGEST_FILE}
    assert not long


def test_sizes_would_be_seen() -> None:
    text = "def f(a, b, *, c):\n    '''Words.\n    More.'''\n    return a\n"
    ((function, size),) = functions(text)
    assert size == 2 and parameters(function) == 3
