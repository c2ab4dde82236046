"""The house rules, held by tests: who imports whom, who prints, what loads torch, what is documented."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import help_pages
from milr.runs.store import RunStore
from outcomes import config, outcome

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "milr"
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

# The floors of DESIGN.md: a file imports its own room and the rooms of floors below it. The longest name that fits a
# file is its room.
FLOORS = [
    "outside",
    "types policy",
    "inputs",
    "base fills randomness templates options presets rules runs",
    "latent models engine report",
    "methods shapes",
    "rewards benchmarks",
    "catalog",
    "workflows",
    "web",
    "cli",
    "__init__",
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms.split()}
# Beside the floors: what a room does without although it lies below. What runs of the embedded world knows no network;
# reports read runs, and know neither engine nor models; methods see the studio through `base` alone.
NEVER = {
    "shapes": "models engine report runs",
    "shapes/training": "engine report runs",
    "report": "latent models engine",
    "methods": "models engine report runs",
    "latent": "models engine report runs rules",
    "models": "runs rules",
    "runs": "rules",
    "rewards": "engine report runs methods latent",
    "benchmarks": "engine report runs methods latent models",
}
ROOMS = set(FLOOR) | set(NEVER)
AT_THE_TOP = {"types.py", "base.py", "fills.py", "policy.py", "randomness.py", "templates.py", "options.py",
              "presets.py"}  # fmt: skip
MAY_NAME_NANO = ("models/", "shapes/", "catalog/")
PRINTERS: set[str] = set()  # the command line prints by typer and rich


def tree(file: str) -> ast.Module:
    return ast.parse((PACKAGE / file).read_text(), filename=file)


def module_of(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__")


def imported(file: str) -> set[str]:
    """The modules of milr that a file imports, at run time or for types, as paths without an ending."""
    found: set[str] = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    known = {module_of(name) for name in FILES} - {"__init__"}
    paths = {name.removeprefix("milr.").replace(".", "/") for name in found if name.startswith("milr.")}
    return {longest(path, known) or "__init__" for path in paths}


def longest(path: str, names: set[str]) -> str | None:
    """The longest of `names` that is `path` or a folder above it."""
    fitting = [name for name in names if path == name or path.startswith(f"{name}/")]
    return max(fitting, key=len, default=None)


def may_import(file: str, module: str) -> bool:
    room = longest(module_of(file), ROOMS)
    assert room is not None, f"{file} is in no room"
    if module == "__init__":  # the version; it loads nothing
        return room == "cli"
    own, other = room.split("/")[0], module.split("/")[0]
    below = FLOOR[other] < FLOOR[own] and longest(module, set(NEVER.get(room, "").split())) is None
    same = own == other and (room == "shapes/training" or not module.startswith("shapes/training"))
    return same or (below and not module.startswith("shapes/training"))


# Imports


def test_only_what_everybody_shares_lies_at_the_top() -> None:
    assert {file for file in FILES if "/" not in file} == AT_THE_TOP | {"__init__.py"}


@pytest.mark.parametrize("file", FILES)
def test_a_file_imports_only_from_floors_below(file: str) -> None:
    wrong = sorted(module for module in imported(file) if not may_import(file, module))
    assert not wrong, f"{file} may not import {', '.join(wrong)}"


def test_the_floors_can_refuse() -> None:
    assert not may_import("types.py", "base") and not may_import("policy.py", "models/janus")
    assert not may_import("engine/search.py", "methods/redraw") and may_import("engine/search.py", "engine/studio")
    assert not may_import("rewards/detector.py", "shapes/training/train")
    assert may_import("rewards/detector.py", "shapes/judge")
    assert not may_import("shapes/drawing.py", "models/nano") and may_import("shapes/training/train.py", "models/nano")
    assert not may_import("workflows/generate.py", "cli/app") and may_import("cli/app.py", "workflows/generate")
    assert imported("engine/search.py") == {"base", "engine/studio", "runs/events", "types"}


def test_no_import_cycles() -> None:
    graph = {module_of(file): imported(file) - {module_of(file)} for file in FILES if file != "__init__.py"}
    while leaves := {name for name, needs in graph.items() if not needs & set(graph)}:
        graph = {name: needs for name, needs in graph.items() if name not in leaves}
    assert not graph, f"these import each other: {sorted(graph)}"


def calls(file: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call with the words it is written in, such as "torch.load"."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keywords(call: ast.Call) -> dict[str | None, str]:
    """The keyword arguments of a call, as they are written."""
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


def strings(file: str) -> Iterator[str]:
    """Every string in a file."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("file", FILES)
def test_nobody_prints_but_the_command_line(file: str) -> None:
    assert file in PRINTERS or "print" not in {name for name, _ in calls(file)}


@pytest.mark.parametrize("file", FILES)
def test_no_foreign_code_and_no_pickles(file: str) -> None:
    names = {name for name, _ in calls(file)}
    assert not names & {"eval", "exec", "os.system"}
    unpickles = [keywords(call).get("weights_only") for name, call in calls(file) if name == "torch.load"]
    assert set(unpickles) <= ({"True"} if file == "models/conversion/deepseek.py" else set())
    foreign = [keywords(call)["trust_remote_code"] for _, call in calls(file) if "trust_remote_code" in keywords(call)]
    assert set(foreign) <= {"False"} and not [text for text in strings(file) if "trust_remote_code" in text]
    modules = {alias.name for node in ast.walk(tree(file)) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in ast.walk(tree(file)) if isinstance(node, ast.ImportFrom)}
    own = (
        {"pickle"} if file == "engine/process_pool.py" else set()
    )  # between a process and those that it started: no file, no net
    assert not modules & {"pickle", "dill", "shelve", "marshal"} - own


# Who asks for the embedded model by its name


def asks_for_nano(module: ast.Module) -> list[str]:
    """The comparisons, keys of dictionaries, patterns and startswith or endswith that hold a string that names nano."""
    return [ast.unparse(node) for node in ast.walk(module) if any(map(names_nano, compared_parts(node)))]


def compared_parts(node: ast.AST) -> list[ast.AST]:
    """What a node compares, or looks up, in a way that depends on a string."""
    match node:
        case ast.Compare():
            return [node.left, *node.comparators]
        case ast.Dict():
            return [key for key in node.keys if key]
        case ast.Subscript():
            return [node.slice]
        case ast.MatchValue():
            return [node.value]
        case ast.Call(func=ast.Attribute(attr="startswith" | "endswith" | "get")):
            return [node.func, *node.args]
    return []


def names_nano(part: ast.AST) -> bool:
    strings = [node.value for node in ast.walk(part) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return any(re.search(r"(?<![a-z])nano(?![a-z])", string, re.IGNORECASE) for string in strings)


@pytest.mark.parametrize("file", [file for file in FILES if not file.startswith(MAY_NAME_NANO)])
def test_only_models_world_and_catalogue_ask_for_nano(file: str) -> None:
    assert asks_for_nano(tree(file)) == [], "ask the model what it can do, not for its name"


@pytest.mark.parametrize("code", [
    'model.name == "nano"', '"nano" != name', 'name in ("janus", "nano")', '"nano" in name', '{"nano": 1}[name]',
    'name.startswith("nano")', 'path.endswith(("/nano", "/janus"))', 'judges["nano"]', 'judges.get("nano")',
    'match name:\n    case "janus" | "nano":\n        pass',
])  # fmt: skip
def test_a_question_for_nano_would_be_seen(code: str) -> None:
    assert asks_for_nano(ast.parse(code))


@pytest.mark.parametrize("code", ['model = "nano"', 'load("nano")', 'unit == "nanoseconds"', '{name: "nano"}',
                                  'seconds == 1  # nano'])  # fmt: skip
def test_a_default_and_a_sentence_are_no_questions_for_nano(code: str) -> None:
    assert asks_for_nano(ast.parse(code)) == []


# What loads torch


def python(code: str, *arguments: object) -> str:
    """Run code in a fresh interpreter, then say which heavy modules it loaded."""
    heavy = "\nimport sys\nprint('HEAVY', sorted({'torch', 'transformers', 'milr.models.janus'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code + heavy, *map(str, arguments)],
        capture_output=True, text=True, timeout=60, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


RUN_MILR = (
    "import sys\nfrom milr.cli.app import main\ntry:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code"
)


@pytest.mark.parametrize("arguments", [["--help"], ["generate", "--help"], ["--version"], ["list"]])
def test_light_commands_do_not_load_torch(arguments: list[str]) -> None:
    assert python(RUN_MILR, *arguments).splitlines()[-1] == "HEAVY []"


def test_importing_milr_loads_nothing_and_generate_is_found() -> None:
    assert python("import milr").splitlines()[-1] == "HEAVY []"
    assert "agenerate" in python("import milr\nprint(milr.agenerate.__name__)")


def test_the_heavy_modules_would_be_seen() -> None:
    assert "torch" in python("import milr.policy").splitlines()[-1]


def test_a_report_is_written_without_torch(tmp_path: Path) -> None:
    with RunStore(tmp_path / "run").open(config()) as store:
        store.write(outcome())
    out = python(RUN_MILR, "report", tmp_path / "run")
    assert out.splitlines()[-1] == "HEAVY []"
    assert (tmp_path / "run" / "report.html").is_file()


# Documentation


def undocumented(file: str) -> list[str]:
    """Public classes, functions and methods without a docstring; a protocol's bare stubs and overloads are exempt."""
    found = [] if ast.get_docstring(tree(file)) else ["the file itself"]
    for node in public(tree(file)):
        found += [] if ast.get_docstring(node) or is_stub(node) else [node.name]
        if isinstance(node, ast.ClassDef):
            found += [f"{node.name}.{inner.name}" for inner in public(node)
                      if not ast.get_docstring(inner) and not is_stub(inner)]  # fmt: skip
    return found


Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public(owner: ast.Module | ast.ClassDef) -> list[Definition]:
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    private = isinstance(owner, ast.ClassDef) and owner.name.startswith("_")
    return [node for node in owner.body if isinstance(node, kinds) and not node.name.startswith("_") and not private]


def is_stub(node: Definition) -> bool:
    """A protocol's method or an overload, whose body is "..."."""
    return [ast.unparse(line) for line in node.body] == ["..."]


@pytest.mark.parametrize("file", FILES)
def test_every_public_name_is_documented(file: str) -> None:
    assert undocumented(file) == []


def test_the_help_page_is_that_of_the_program() -> None:
    written = ROOT / "docs" / "help.md"
    assert written.read_text() == help_pages.page(), "docs/help.md is out of date: make help-page"


def test_the_help_page_has_every_command() -> None:
    page = help_pages.page()
    assert {"## milr\n", "## milr generate\n", "## milr report\n"} <= {line + "\n" for line in page.splitlines()}
    assert "--text-ratio" in page and max(map(len, page.splitlines())) <= help_pages.WIDTH
