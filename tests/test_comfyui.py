"""The ComfyUI node of the examples, in a stand-in for ComfyUI that does with a node what ComfyUI does."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("starlette", reason="milr serve needs the extra: pip install 'milr[web]'")
pytest.importorskip("uvicorn", reason="milr serve needs the extra: pip install 'milr[web]'")
pytest.importorskip("prometheus_client", reason="milr serve needs the extra: pip install 'milr[web]'")

from milr.web.limits import Limits, ServerSettings  # noqa: E402
from milr.workflows.serving import ServingSession  # noqa: E402
from served import served_on_a_socket  # noqa: E402
from test_serve import SETTINGS  # noqa: E402

NODE = Path(__file__).parents[1] / "examples" / "comfyui" / "__init__.py"
KEY = "a-key-of-thirty-two-plain-letters"


class InterruptProcessingException(Exception):  # noqa: N818  # ComfyUI's name
    """What ComfyUI raises in a node when the user cancels."""


class Comfy:
    """What ComfyUI does with a folder in `custom_nodes`: import it, check a workflow's inputs, call, check outputs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cancelled = threading.Event()
        management = types.ModuleType("comfy.model_management")
        management.throw_exception_if_processing_interrupted = self._look  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "comfy", types.ModuleType("comfy"))
        monkeypatch.setitem(sys.modules, "comfy.model_management", management)
        spec = importlib.util.spec_from_file_location("custom_nodes_comfyui", NODE)
        assert spec and spec.loader
        self.module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)

    def _look(self) -> None:
        if self.cancelled.is_set():
            self.cancelled.clear()
            raise InterruptProcessingException

    def run(self, name: str, **inputs: Any) -> tuple[Any, ...]:
        node = self.module.NODE_CLASS_MAPPINGS[name]
        assert name in self.module.NODE_DISPLAY_NAME_MAPPINGS and node.CATEGORY
        asked = node.INPUT_TYPES()
        assert set(asked) <= {"required", "optional", "hidden"}
        widgets = {**asked["required"], **asked.get("optional", {})}
        assert set(inputs) <= set(widgets)
        values = {key: inputs.get(key, default_of(*widgets[key])) for key in asked["required"]} | inputs
        for key, value in values.items():
            check(value, *widgets[key])
        outputs = getattr(node(), node.FUNCTION)(**values)
        assert isinstance(outputs, tuple) and len(outputs) == len(node.RETURN_TYPES) == len(node.RETURN_NAMES)
        return outputs


def default_of(kind: Any, settings: dict[str, Any]) -> Any:
    return kind[0] if isinstance(kind, list) else settings["default"]


def check(value: Any, kind: Any, settings: dict[str, Any]) -> None:
    if isinstance(kind, list):
        assert value in kind
    elif kind == "INT":
        assert settings["min"] <= value <= settings["max"] < 2**64
    else:
        assert kind == "STRING" and isinstance(value, str)


@pytest.fixture
def comfy(monkeypatch: pytest.MonkeyPatch) -> Comfy:
    monkeypatch.delenv("MILR_API_KEY", raising=False)
    monkeypatch.delenv("MILR_SERVER", raising=False)
    return Comfy(monkeypatch)


@pytest.fixture(scope="module")
def session(tiny_folder: Path) -> Iterator[ServingSession]:
    with ServingSession(tiny_folder, processes=False, **SETTINGS) as one:
        yield one


@pytest.fixture
def settings(tmp_path: Path) -> ServerSettings:
    return ServerSettings(tmp_path / "runs", limits=Limits(pictures=5_000))


def test_a_workflow_gets_the_pictures_of_a_single_call(
    session: ServingSession, settings: ServerSettings, comfy: Comfy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served_on_a_socket(session, settings) as (address, _):
        monkeypatch.setenv("MILR_SERVER", address)
        images, found = comfy.run("MilrGenerate", prompt="a red star", seed=7, samples=2)
    alone = session.generate("a red star", samples=2, seed=7)
    assert images.dtype == torch.float32 and images.min() >= 0 and images.max() <= 1
    for image, line, outcome in zip(images, found.split("\n"), alone, strict=True):
        assert np.array_equal(np.asarray(outcome.picture.convert("RGB")), (image * 255).round().to(torch.uint8).numpy())
        assert json.loads(line)["score"] == outcome.score.value


def test_a_key_comes_from_the_environment(
    session: ServingSession, settings: ServerSettings, comfy: Comfy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served_on_a_socket(session, replace(settings, key=KEY)) as (address, _):
        monkeypatch.setenv("MILR_SERVER", address + "/")
        with pytest.raises(RuntimeError, match="wants its API key"):
            comfy.run("MilrGenerate", prompt="a red star")
        monkeypatch.setenv("MILR_API_KEY", KEY)
        images, found = comfy.run("MilrGenerate", prompt="a red star", complexity="low", method="redraw_sampled")
    assert images.shape[0] == 1 and KEY not in found
    assert not any("key" in name or "address" in name for name in comfy.module.MilrGenerate.INPUT_TYPES()["required"])


def test_what_the_server_refuses_is_said(
    session: ServingSession, settings: ServerSettings, comfy: Comfy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served_on_a_socket(session, settings) as (address, _):
        monkeypatch.setenv("MILR_SERVER", address)
        with pytest.raises(RuntimeError, match=r"milr serve: milr\.method"):
            comfy.run("MilrGenerate", prompt="a red star", method="magic")
        monkeypatch.setenv("MILR_SERVER", f"{address}/elsewhere")
        with pytest.raises(RuntimeError, match="milr serve: |no milr serve"):
            comfy.run("MilrGenerate", prompt="a red star")
    with pytest.raises(RuntimeError, match="start it there, or set MILR_SERVER"):
        comfy.run("MilrGenerate", prompt="a red star")


def test_cancelling_a_workflow_gives_the_search_up(
    session: ServingSession, settings: ServerSettings, comfy: Comfy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served_on_a_socket(session, settings) as (address, served):
        monkeypatch.setenv("MILR_SERVER", address)
        threading.Timer(0.5, comfy.cancelled.set).start()
        with pytest.raises(InterruptProcessingException):
            comfy.run("MilrGenerate", prompt="a red star", samples=10, complexity="high")
        end = threading.Event()
        for _ in range(50):
            if not served.searches._going:
                break
            end.wait(0.05)
        assert served.metrics.searches.labels("given up")._value.get() == 1
