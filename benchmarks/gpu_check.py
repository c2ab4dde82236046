"""One run on a GPU that says what holds there: `python benchmarks/gpu_check.py`, docs/howto/gpu-check.md says more.

Random weights of the real shapes. Each stage prints PASS, FAIL or skipped with its numbers; all of them are written to
`$OUT/gpu_check.json` and a page, `$OUT/gpu_check.html` (without OUT: here). Without a GPU it runs small shapes on the
CPU, so that the script itself is tested.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NEEDED = {"torch": "torch", "transformers": "transformers", "tokenizers": "tokenizers", "safetensors": "safetensors",
          "numpy": "numpy", "PIL": "Pillow"}  # fmt: skip


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """All stages asked for; the results by stage."""
    asked = _arguments(arguments)
    if missing := [package for module, package in NEEDED.items() if find_spec(module) is None]:
        raise SystemExit(f"gpu_check needs {', '.join(missing)}: pip install them, or carry the wheels "
                         "(docs/howto/gpu-check.md).")  # fmt: skip
    from gpu_stages.isolation import Isolation
    from gpu_stages.page import page
    from gpu_stages.plan import CPU_TIMES, TOTAL_SECONDS, stages

    isolation, began = Isolation(), time.monotonic()
    size = asked.size or ("1b" if isolation.has_gpu else "tiny")
    speeds = ["1b", "7b"] if isolation.has_gpu and not asked.size else [size]
    times = 1 if isolation.has_gpu else CPU_TIMES
    results: dict[str, Any] = {"size": size, "stages": {}}
    folder = Path(os.environ.get("OUT", "."))
    for stage in stages(speeds):
        if asked.stage and stage.number not in asked.stage:
            continue
        left = times * (asked.seconds or TOTAL_SECONDS) - (time.monotonic() - began)
        result = isolation.run(stage, size, min(times * stage.seconds, left)) if left > 1 else _no_time(stage.number)
        results["stages"][stage.name] = result
        _print(stage.name, result)
        results["seconds"] = round(time.monotonic() - began, 1)
        (folder / "gpu_check.json").write_text(json.dumps(results, indent=1))
        (folder / "gpu_check.html").write_text(page(results))
    return results


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("size", nargs="?", choices=["tiny", "w512", "1b", "7b"],
                        help="of the random model; without it 1b, and the speed of 7b, too; on a CPU tiny")  # fmt: skip
    parser.add_argument("--stage", type=int, action="append", help="only the stages of this number (more than once)")
    parser.add_argument("--seconds", type=float, help="for all stages together (470)")
    return parser.parse_args(arguments)


def _no_time(number: int) -> dict[str, Any]:
    return {"number": number, "passed": False, "error": "no time was left", "seconds": 0.0, "findings": []}


def _print(name: str, result: dict[str, Any]) -> None:
    said = "skip" if "skipped" in result else "PASS" if result["passed"] else "FAIL"
    reason = result.get("skipped", result.get("error", ""))
    print(f"{said} {result['number']:2} {name} ({result['seconds']} s) {reason}".rstrip())
    for finding in result["findings"]:
        mark = {True: "  + ", False: "  ! ", None: "    "}[finding["passed"]]
        print(f"{mark}{finding['what']} {json.dumps(_rounded(finding['numbers']))}")
    sys.stdout.flush()


def _rounded(value: Any) -> Any:
    """Four digits of every number, for reading."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


if __name__ == "__main__":
    found = main()["stages"]
    failed = [name for name, result in found.items() if not result["passed"]]
    print("FAIL: " + ", ".join(failed) if failed else "PASS")
    sys.exit(bool(failed))
