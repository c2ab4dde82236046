"""One run on a GPU that says what holds there: `python benchmarks/gpu_check.py 1b`, or `tiny` on a CPU.

Random weights of the real shapes. Each section prints PASS, FAIL or its numbers, and fails alone; all of them are
written to `$OUT/gpu_check.json` (without OUT: here). Without a GPU it runs on the CPU, where no graphs are captured.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NUM_IN_FLIGHT = (1, 8, 32)
TEXT_TOKENS = 64


def main(size: str) -> dict[str, Any]:
    """All sections for one size of `random_janus`; the results by section."""
    try:
        checks = Checks(size)
    except ImportError as error:
        raise SystemExit(
            f"gpu_check needs the package {error.name}: carry the wheels of milr's dependencies."
        ) from None
    results: dict[str, Any] = {"size": size, "device": checks.device_name()}
    for section in (checks.graphs, checks.batches, checks.resume, checks.out_of_memory, checks.speed):
        began = time.perf_counter()
        try:
            result = section()
        except Exception as error:  # the other sections still say something
            result = {"passed": False, "error": f"{type(error).__name__}: {str(error)[:300]}"}
        results[section.__name__] = result | {"seconds": round(time.perf_counter() - began, 2)}
        print(section.__name__, json.dumps(results[section.__name__]), flush=True)
    file = Path(os.environ.get("OUT", ".")) / "gpu_check.json"
    file.write_text(json.dumps(results, indent=1))
    return results


class Checks:
    """The sections, over one model in the dtype that a user gets by default."""

    def __init__(self, size: str) -> None:
        import random_janus
        import torch

        from milr.models.devices import prepare_cuda

        self._torch, self._janus, self._size = torch, random_janus, size
        if torch.cuda.is_available():
            prepare_cuda()
        self.model = random_janus.make(size)

    def device_name(self) -> str:
        """The card, or the CPU."""
        return self._torch.cuda.get_device_name() if self._torch.cuda.is_available() else "cpu"

    def _draw(self, indices: range, model: Any = None, **settings: Any) -> list[Any]:
        from milr.types import DrawRequest, Key

        prompts = self._janus.prompts(self._size, max(NUM_IN_FLIGHT))
        requests = [DrawRequest(prompts[index].text, Key(0, prompts[index].text), 5.0, **settings) for index in indices]
        return (model or self.model).draw(requests)  # type: ignore[no-any-return]

    def graphs(self) -> dict[str, Any]:
        """The same tokens with graphs and without; in float32 but for 7b, where they may part at near ties."""
        if self.model.network.device.type != "cuda":
            return {"passed": True, "skipped": "no GPU, no graphs"}
        model = self.model if self._size == "7b" else self._janus.make(self._size, dtype="float32")
        by_graph = self._draw(range(2), model)
        captures = model._engine.num_captures
        model.free_memory()
        runner, model._engine._graph_runner = model._engine._graph_runner, None
        try:
            eager = self._draw(range(2), model)
        finally:
            model._engine._graph_runner = runner
        return {"captures": captures, "dtype": str(model.network.dtype)} | _same(by_graph, eager, model)

    def batches(self) -> dict[str, Any]:
        """A picture alone and among eight: different only from a near tie on."""
        self.model.free_memory()
        return _same(self._draw(range(8))[:1], self._draw(range(1)), self.model)

    def resume(self) -> dict[str, Any]:
        """A picture whose first half is forced goes on as it was."""
        whole = self._draw(range(1))
        half = self._draw(range(1), prefix=whole[0].ids[: len(whole[0].ids) // 2])
        return _same(whole, half, self.model)

    def out_of_memory(self) -> dict[str, Any]:
        """A stand-in for a model that raises this torch's error at its first batch goes on with halves."""
        from milr.engine.batch_executor import BatchExecutor

        raised = []

        class Full:
            name = "full"

            def draw(self, requests: Any) -> list[int]:
                if not raised:
                    raised.append(1)
                    raise self_torch.OutOfMemoryError("CUDA out of memory")
                return [1] * len(requests)

        self_torch = self._torch
        executor: Callable[..., list[Any]] = BatchExecutor(Full())  # type: ignore[arg-type]
        return {"passed": executor("draw", [1, 2, 3, 4]) == [1] * 4}

    def speed(self) -> dict[str, Any]:
        """Pictures and tokens a second, memory and captures, by how many pictures are drawn at once."""
        from speed_clock import timed

        found: dict[str, Any] = {}
        for count in NUM_IN_FLIGHT:
            self._draw(range(count))  # captures
            with timed(self.model.network.device) as clock:
                images = self._draw(range(count))
            found[str(count)] = {
                "pictures_per_second": count / clock.seconds,
                "tokens_per_second": sum(len(image.ids) for image in images) / clock.seconds,
                "peak_gib": clock.peak_bytes / 2**30,
                "captures": self.model._engine.num_captures,
            }
        return {"passed": True, "in_flight": found}


def _same(one: list[Any], other: list[Any], model: Any) -> dict[str, Any]:
    """Passed where tokens are equal or part at a near tie of either."""
    parted = []
    for left, right in zip(one, other, strict=True):
        first = next((place for place, (a, b) in enumerate(zip(left.ids, right.ids, strict=True)) if a != b), None)
        if first is not None:
            parted.append({"first": first, "near_tie": first in (*left.near_ties, *right.near_ties)})
    return {"passed": all(where["near_tie"] for where in parted), "parted": parted}


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    results = main(sys.argv[1] if len(sys.argv) > 1 else "tiny")
    failed = [name for name, result in results.items() if isinstance(result, dict) and not result["passed"]]
    print("FAIL: " + ", ".join(failed) if failed else "PASS")
    sys.exit(bool(failed))
