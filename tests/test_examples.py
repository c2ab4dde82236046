"""Scripts, notebooks and commands of the documentation run as they stand, and the site is built (`make test-long`)."""

from __future__ import annotations

import doctest
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from markdown import ROOT, SITE, blocks

pytestmark = pytest.mark.long
EXAMPLES = ROOT / "examples"
LIKE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
PAGES = [page for page in SITE if blocks(page, "console")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder beside the examples, with nothing of the user's."""
    for name, value in {"PYTHONPATH": str(ROOT / "src"), "MILR_CACHE": str(tmp_path / "cache"), "NO_COLOR": "1",
                        "PYTHONWARNINGS": "ignore"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    for name in ("http_proxy", "https_proxy", "all_proxy", "columns"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    (tmp_path / "examples").symlink_to(EXAMPLES)
    return tmp_path


def output_of(command: list[str], folder: Path) -> str:
    """What a command prints; its environment is ours, without the COLUMNS that readline sets behind Python's back."""
    done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300,
                          env=dict(os.environ))  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_a_script_runs(script: Path, folder: Path) -> None:
    printed = output_of([sys.executable, str(script)], folder)
    assert printed or "milr.generate" not in script.read_text(encoding="utf-8")


@pytest.mark.parametrize("notebook", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_runs(notebook: Path, folder: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    content = nbformat.read(notebook, as_version=4)
    NotebookClient(content, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    pictures = [output for cell in content.cells for output in cell.get("outputs", [])
                if {"image/png", "text/html"} & set(output.get("data", {}))]  # fmt: skip
    assert pictures, "a notebook shows something"


def commands(page: Path) -> list[tuple[str, str]]:
    """The commands after "$ " with what the page says that they print; ... stands for anything."""
    entries = [entry for block in blocks(page, "console") for entry in ("\n" + block).split("\n$ ")[1:]]
    return [(command, output) for command, _, output in (entry.partition("\n") for entry in entries)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_print_what_the_page_says(page: Path, folder: Path) -> None:
    checker = doctest.OutputChecker()
    for command, expected in commands(page):
        program, *arguments = shlex.split(command)
        assert program == "milr", command
        printed = output_of([sys.executable, "-m", "milr.cli", *arguments], folder)
        assert checker.check_output(expected, printed, LIKE), f"$ {command}\n{printed}\ninstead of\n{expected}"


def test_the_comparison_of_output_can_fail() -> None:
    assert not doctest.OutputChecker().check_output("score 0.5\n...\n", "score 0.6\nand more\n", LIKE)


@pytest.mark.parametrize("builder", ["html", "coverage"])
def test_the_site_is_built_without_a_warning(builder: str, tmp_path: Path, folder: Path) -> None:
    """Broken links and references are warnings, and so are public names that no page documents."""
    output_of([sys.executable, "-m", "sphinx", "-b", builder, "-W", "-n", "-q", "--keep-going", str(ROOT / "docs"),
               str(tmp_path / "site")], ROOT)  # fmt: skip


ENTRY_POINTS = """\
[milr.rewards]
large = large_objects:make_large
[milr.methods]
rising = own_method:rising_temperature
[milr.models]
cool = own_model:cool_nano
[milr.benchmarks]
crosses = own_benchmark:crosses
"""


def test_parts_of_an_installed_package_have_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the pages about own parts say of entry points, with the examples as the package's modules."""
    package = folder / "site"
    (package / "parts-1.0.dist-info").mkdir(parents=True)
    (package / "parts-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: parts\nVersion: 1.0\n")
    (package / "parts-1.0.dist-info" / "entry_points.txt").write_text(ENTRY_POINTS)
    for path in EXAMPLES.glob("*.py"):
        (package / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    with open(package / "large_objects.py", "a", encoding="utf-8") as file:
        file.write("\n\nfrom milr.rewards.function import FunctionReward\n"
                   "def make_large(model):\n    return FunctionReward(large_objects, 'large')\n")  # fmt: skip
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}:{package}")
    listed = output_of([sys.executable, "-m", "milr.cli", "list"], folder)
    assert all(f"from {part}" in listed for part in ("large_objects:make_large", "own_benchmark:crosses"))
    printed = output_of([sys.executable, "-m", "milr.cli", "bench", "crosses", "--model", "cool", "--reward", "large",
                         "--method", "rising", "--pictures", "2", "--no-stop", "--out", "run"], folder)  # fmt: skip
    assert "4 prompts of crosses" in printed and "scored by detector" in printed
