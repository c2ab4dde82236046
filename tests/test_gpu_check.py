"""The script for a GPU runs on a CPU, each stage in a process of its own that ends when its time is up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NEED_GPU = {"graphs", "waits", "memory", "8 GB card", "24 GB card", "captures", "broken capture"}
NOT_NEEDED = ("pydantic", "typer", "statsmodels")


def run(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """The script without some of milr's dependencies, and what it wrote."""
    for name in NOT_NEEDED:
        (folder / f"{name}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{name}'\", name='{name}')")
    environment = os.environ | {"OUT": str(folder), "PYTHONPATH": f"{folder}:{ROOT / 'src'}"}
    done = subprocess.run([sys.executable, ROOT / "benchmarks/gpu_check.py", *arguments], capture_output=True,
                          text=True, env=environment, check=False)  # fmt: skip
    return done, json.loads((folder / "gpu_check.json").read_text()) if (folder / "gpu_check.json").exists() else {}


def test_every_stage_passes_or_is_skipped_on_a_cpu_with_few_packages(tmp_path: Path) -> None:
    done, results = run(tmp_path, "tiny")
    assert done.returncode == 0 and done.stdout.endswith("PASS\n"), done.stdout + done.stderr
    stages = results["stages"]
    assert {result["number"] for result in stages.values()} == set(range(14))
    skipped = {name for name, result in stages.items() if "skipped" in result}
    others = {name for name in stages if name.startswith("a thread that")}
    assert skipped - {"quantised"} == NEED_GPU | others, "nothing is passed that was not tried"
    assert all(result["findings"] for name, result in stages.items() if name not in skipped)
    page = (tmp_path / "gpu_check.html").read_text()
    assert "nothing failed" in page and page.count("<section>") == len(stages)


def test_a_stage_that_takes_too_long_is_ended_and_the_others_run(tmp_path: Path) -> None:
    done, results = run(tmp_path, "tiny", "--stage", "0", "--stage", "13", "--seconds", "0.1")
    assert done.returncode == 1 and done.stdout.endswith("FAIL: machine, messages\n")
    assert [result["error"] for result in results["stages"].values()] == ["no time was left"] * 2


@pytest.fixture
def isolation(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "benchmarks"), str(ROOT / "src"),
                                                      str(ROOT / "tests")]))  # fmt: skip
    from gpu_stages.isolation import Isolation

    return Isolation()


def test_a_stage_ends_alone(isolation: Any) -> None:
    from gpu_stages.plan import Stage

    slow = isolation.run(Stage(0, "slow", 1, "finding:draw"), "no such size", 60)
    assert not slow["passed"] and slow["error"].startswith("KeyError") or "Error" in slow["error"]
    assert isolation.run(Stage(13, "messages", 60, "machine:messages"), "tiny", 60)["passed"]
    ended = isolation.run(Stage(8, "company", 1, "numbers:company"), "tiny", 0.05)
    assert not ended["passed"] and ended["error"] == "no end within 0 seconds"
