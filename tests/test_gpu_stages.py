"""The stages that need a GPU, on the stand-in: they run to their end there, and a fault makes them fail."""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import cuda_stand_in

ROOT = Path(__file__).parents[1]
TIMED = "32 pictures wait for noise"  # whose figure says nothing on a CPU


@pytest.fixture(scope="module")
def network() -> Any:
    """A tiny random network on the CPU, made where torch is as it is."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import random_janus

        size = random_janus.SIZES["tiny"]
        return random_janus._network(size, random_janus.tokenizer(size.vocab), "cpu", torch.float32, 0)
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture
def device(network: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[cuda_stand_in.Device]:
    """The stand-in, with random models on it, and small numbers of tokens."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import random_janus
    import speed_limits
    from gpu_stages import graphs, speed

    monkeypatch.setattr(random_janus, "_network", lambda size, words, device, dtype, seed: cuda_stand_in.put(
        copy.deepcopy(network).to(dtype)))  # fmt: skip
    monkeypatch.setattr(speed_limits, "measure", lambda device, dtype: speed_limits.Limits(1e12, 1e14))
    monkeypatch.setattr(graphs, "TOKENS", 16)
    monkeypatch.setattr(speed, "NOISE", ((8, 64),))
    level = logging.getLogger("milr").level
    yield cuda_stand_in.install(monkeypatch)
    logging.getLogger("milr").setLevel(level)


def findings(name: str, argument: Any = None) -> list[Any]:
    from gpu_stages.finding import Card
    from gpu_stages.plan import load, stages

    stage = next(stage for stage in stages(["tiny"]) if stage.name == name)
    return list(load(stage.function)(Card("tiny"), *(() if stage.argument is None else (stage.argument,))))


@pytest.mark.parametrize("name", [
    "graphs", "company", "speed tiny", "waits", "out of memory", "memory", "8 GB card", "captures",
    "broken capture", "a thread that multiplies", "a thread that copies", "a thread that synchronises",
    "a thread that empties the cache", "a thread that samples", "noise",
])  # fmt: skip
def test_a_stage_runs_to_its_end(device: cuda_stand_in.Device, name: str) -> None:
    found = findings(name)
    assert found and not [finding for finding in found if finding.passed is False and finding.what != TIMED]


def test_a_step_that_waits_is_found(device: cuda_stand_in.Device, monkeypatch: pytest.MonkeyPatch) -> None:
    from milr.models.decoding import decode_loop

    def waiting(tokens: Any, logits: Any, choose: Any = decode_loop.log_probs_of) -> Any:
        assert float(logits.amax()) < 1e9
        return choose(tokens, logits)

    monkeypatch.setattr(decode_loop, "log_probs_of", waiting)
    assert [finding.passed for finding in findings("waits")] == [False, True]


def test_graphs_that_part_from_eager_steps_are_found(
    device: cuda_stand_in.Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = cuda_stand_in.Graph.replay

    def wrong(graph: Any) -> None:
        replay(graph)
        graph.tape[-1][3].mul_(-1.0)

    monkeypatch.setattr(cuda_stand_in.Graph, "replay", wrong)
    assert "pictures by graph and without in float32" in [each.what for each in findings("graphs") if not each.passed]
