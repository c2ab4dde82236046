"""The script for a GPU runs on a CPU, and CUDA's parts by stand-ins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import torch

from milr.models.decoding.noise_buffers import NUM_BUFFERS, NoiseBuffers
from milr.outside.capture_gate import CaptureGate
from milr.randomness import NoiseStream, batch_noise
from milr.types import Key

ROOT = Path(__file__).parents[1]


def test_every_section_passes_on_a_cpu_without_pydantic(tmp_path: Path) -> None:
    (tmp_path / "pydantic.py").write_text("raise ImportError")
    environment = os.environ | {"OUT": str(tmp_path), "PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}"}
    done = subprocess.run([sys.executable, ROOT / "benchmarks/gpu_check.py", "tiny"], capture_output=True, text=True,
                          env=environment, check=False)  # fmt: skip
    assert done.returncode == 0 and done.stdout.endswith("PASS\n"), done.stdout + done.stderr
    assert json.loads((tmp_path / "gpu_check.json").read_text())["speed"]["in_flight"]["32"]["tokens_per_second"] > 0


class Event:
    """Counts what a CUDA event is asked for."""

    def __init__(self) -> None:
        self.waits = self.records = 0

    def record(self) -> None:
        self.records += 1

    def synchronize(self) -> None:
        self.waits += 1


def test_noise_from_buffers_has_the_same_bits_and_buffers_are_used_again() -> None:
    events: list[Event] = []

    def event() -> Event:
        events.append(Event())
        return events[-1]

    buffers = NoiseBuffers(torch.device("cpu"), allocate=torch.empty, event=event)
    ours, plain = ([NoiseStream(Key(0, str(row)), "image", 50) for row in range(17)] for _ in range(2))
    for position in range(7):
        noise = buffers.draw([(stream, position) for stream in ours], 50)
        assert torch.equal(noise, batch_noise([(stream, position) for stream in plain], 50))
    assert len(events) == NUM_BUFFERS and sum(event.records for event in events) == 7


def test_a_capture_waits_for_no_judge_and_a_judge_for_a_capture() -> None:
    gate, judged = CaptureGate(), threading.Event()

    def judge() -> None:
        with gate.judging():
            judged.set()

    with gate.judging(), gate.capturing(0.0) as is_free:
        assert not is_free
    with gate.capturing(0.0) as is_free:
        assert is_free
        thread = threading.Thread(target=judge)
        thread.start()
        assert not judged.wait(0.05)
    thread.join()
    assert judged.is_set()
