"""`milr doctor --device`: what it measures, and what it says where a device is not to be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from milr.cli.app import app
from milr.models.janus import JanusModel
from milr.options import Options
from milr.types import DrawRequest, ImageTrace
from milr.workflows import device_check


class OnCuda:
    """A model that says it is on a GPU; `wrong` parts its pictures when they are drawn without graphs."""

    def __init__(self, model: JanusModel, *, wrong: bool = False, near: bool = False, most: int = 100) -> None:
        self._model, self._wrong, self._near, self._most = model, wrong, near, most
        self._graphs = True
        self.name, self.guidance_scale = model.name, model.guidance_scale

    def identity(self) -> Mapping[str, Any]:
        return {**self._model.identity(), "device": "cuda"}

    def without_graphs(self) -> None:
        self._graphs = False

    def draw(self, requests: Sequence[DrawRequest]) -> list[ImageTrace]:
        if len(requests) > self._most:
            raise MemoryError("CUDA out of memory")
        traces = self._model.draw(requests)
        if self._graphs or not self._wrong:
            return traces
        return [replace(trace, ids=(trace.ids[0] + 1, *trace.ids[1:]), near_ties=(0,) if self._near else ())
                for trace in traces]  # fmt: skip


def findings(monkeypatch: pytest.MonkeyPatch, model: Any) -> list[device_check.Finding]:
    monkeypatch.setattr(device_check, "load_model", lambda options: model)
    return list(device_check.check_device(Options(device="cuda")))


def test_a_device_that_holds_is_measured_and_a_number_of_searches_recommended(
    monkeypatch: pytest.MonkeyPatch, tiny: JanusModel
) -> None:
    loaded, rates, alone, graphs = findings(monkeypatch, OnCuda(tiny))
    assert loaded.what.endswith("float32 on cuda")
    assert "with 32 at once; take --in-flight" in rates.what
    assert alone.what == "a picture alone and among eight are the same"
    assert graphs.ok and graphs.what.startswith("pictures drawn by CUDA graphs and without")


@pytest.mark.parametrize("near", [False, True])
def test_other_tokens_without_graphs_are_wrong_unless_they_are_near_ties(
    monkeypatch: pytest.MonkeyPatch, tiny: JanusModel, near: bool
) -> None:
    *_, graphs = findings(monkeypatch, OnCuda(tiny, wrong=True, near=near))
    assert graphs.ok is near
    assert graphs.what.endswith("8 of 8 up to a near tie" if near else "8 of 8 differ beyond rounding")


def test_where_memory_ends_is_said(monkeypatch: pytest.MonkeyPatch, tiny: JanusModel) -> None:
    _, rates, *_ = findings(monkeypatch, OnCuda(tiny, most=8))
    assert "with 8 at once (memory does not hold 16); take --in-flight" in rates.what


def test_the_fewest_searches_that_pay_are_recommended() -> None:
    assert device_check._recommendation({1: 1.0, 2: 1.9, 4: 3.0, 8: 3.1}).what.endswith("take --in-flight 4")
    assert device_check._recommendation({1: 1.0, 2: 1.01}).what.endswith("take --in-flight 1")


def test_a_wrong_device_ends_with_code_3(monkeypatch: pytest.MonkeyPatch, tiny: JanusModel) -> None:
    monkeypatch.setattr(device_check, "load_model", lambda options: OnCuda(tiny, wrong=True))
    result = CliRunner().invoke(app, ["doctor", "--device", "cuda"])
    assert result.exit_code == 3 and "wrong    pictures drawn by CUDA graphs" in result.output
