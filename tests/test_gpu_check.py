"""The script for a GPU runs on a CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_section_passes_on_a_cpu_without_pydantic(tmp_path: Path) -> None:
    (tmp_path / "pydantic.py").write_text("raise ImportError")
    environment = os.environ | {"OUT": str(tmp_path), "PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}"}
    done = subprocess.run([sys.executable, ROOT / "benchmarks/gpu_check.py", "tiny"], capture_output=True, text=True,
                          env=environment, check=False)  # fmt: skip
    assert done.returncode == 0 and done.stdout.endswith("PASS\n"), done.stdout + done.stderr
    results = json.loads((tmp_path / "gpu_check.json").read_text())
    assert results["speed"]["in_flight"]["32"]["tokens_per_second"] > 0
    assert ("skipped" in results["graphs"]) is (results["device"] == "cpu"), "nothing is passed that was not tried"
