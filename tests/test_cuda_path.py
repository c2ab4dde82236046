"""The whole model on the stand-in for a GPU (`cuda_stand_in`): what a card would be asked to do."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import cuda_stand_in
import tiny_janus
from milr.latent.update import start, update
from milr.models import float32_logits as float32_logits_module
from milr.models.decoding.batch import GROWTH
from milr.models.devices import CACHE_SHARE, choose_device, choose_dtype
from milr.models.float32_logits import float32_image_logits, float32_logits
from milr.models.janus import JanusModel
from milr.models.janus_prompts import JanusPrompts
from milr.types import DrawRequest, Key, ReasonRequest, UsageError

PROMPTS = ("a red star", "two blue circles left of a square", "a star")


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> cuda_stand_in.Device:
    return cuda_stand_in.install(monkeypatch)


@pytest.fixture
def model(device: cuda_stand_in.Device, tiny_folder: Path) -> JanusModel:
    return load(tiny_folder)


def load(folder: Path, dtype: str = "float32") -> JanusModel:
    return JanusModel.load(folder, device="cuda", dtype=dtype, templates=tiny_janus.TEMPLATES, name="tiny")


def endless(model: Any) -> Any:
    """The model, whose texts do not end by themselves."""
    model._text_head = replace(model._text_head, end_token_id=-1)
    return model


def drawn(model: Any, count: int = 3, **settings: Any) -> list[tuple[int, ...]]:
    requests = [DrawRequest(PROMPTS[index], Key(index, PROMPTS[index]), 5.0, **settings) for index in range(count)]
    return [trace.ids for trace in model.draw(requests)]


def written(model: Any, tokens: int = 20, temperature: float = 0.0) -> list[tuple[int, ...]]:
    requests = [ReasonRequest(prompt, Key(1, prompt), max_new_tokens=tokens, temperature=temperature)
                for prompt in PROMPTS]  # fmt: skip
    return [trace.ids for trace in model.reason(requests)]


def test_pictures_texts_pixels_and_answers_are_those_of_the_cpu(
    device: cuda_stand_in.Device, model: JanusModel, tiny: JanusModel
) -> None:
    assert model.identity()["device"] == "cuda" and model._engine._graph_runner is not None
    pictures = drawn(tiny)
    assert drawn(model) == pictures and drawn(model) == pictures, "the second time by graphs that are there already"
    assert model._engine.num_captures == 1 and device.num_replays > 20
    assert set(device.capture_modes) == {"thread_local"} and device.is_on_default_stream
    for temperature in (0.0, 1.0):
        assert written(model, temperature=temperature) == written(tiny, temperature=temperature)
    shown, expected = model.render(pictures), tiny.render(pictures)
    assert [picture.tobytes() for picture in shown] == [picture.tobytes() for picture in expected]
    answers = [each.answer(expected, ["is it red ?"] * 3) for each in (model, tiny)]
    assert [answer.text for answer in answers[0]] == [answer.text for answer in answers[1]]
    assert [answer.yes for answer in answers[0]] == pytest.approx([answer.yes for answer in answers[1]])
    assert {call for call in device.events} == {"record", "wait"}, "noise goes by pinned buffers"


def test_no_step_of_a_picture_waits_for_the_device(device: cuda_stand_in.Device, model: JanusModel) -> None:
    drawn(model)
    waits = []
    for tokens in (6, 16):
        device.waits.clear()
        drawn(model, max_new_tokens=tokens)
        waits.append(Counter(device.waits))
    assert waits[0] == waits[1], "as many for 16 tokens as for 6"


def test_a_step_of_a_text_waits_once(device: cuda_stand_in.Device, model: JanusModel) -> None:
    waits = []
    endless(model).reason([ReasonRequest(PROMPTS[0], Key(6, "p"), max_new_tokens=9, temperature=1.0)])
    for tokens in (4, 8):
        device.waits.clear()
        model.reason([ReasonRequest(PROMPTS[0], Key(7, "p"), max_new_tokens=tokens, temperature=1.0)])
        waits.append(Counter(device.waits))
    assert waits[1] - waits[0] == {"tolist": 4} and not waits[0] - waits[1]


def test_graphs_follow_a_cache_and_end_with_it(device: cuda_stand_in.Device, model: JanusModel) -> None:
    expected = drawn(model)
    emptied = device.num_emptied
    model.free_memory()
    assert device.num_emptied == emptied + 1 and drawn(model) == expected and model._engine.num_captures == 2
    model.without_graphs()
    replays = device.num_replays
    assert drawn(model) == expected and device.num_replays == replays


def test_a_capture_that_waits_for_the_device_fails_and_the_step_runs_eagerly(
    device: cuda_stand_in.Device, tiny_folder: Path, tiny: JanusModel, caplog: pytest.LogCaptureFixture
) -> None:
    model, expected = load(tiny_folder), drawn(tiny)
    inner = model._engine.decoder

    def waiting(inputs: Any, positions: Any, cache: Any, position: Any, bias: Any) -> Any:
        return inner(inputs, positions, cache, int(position), bias)  # which a graph would keep for ever

    runner = model._engine._graph_runner
    assert runner is not None
    runner._decoder = waiting  # type: ignore[assignment]
    assert drawn(model) == expected and model._engine.num_captures == 0
    assert "not permitted when stream is capturing" in caplog.messages[0] and device.is_on_default_stream


@pytest.mark.parametrize("plenty", [True, False])
def test_where_memory_is_plenty_a_text_has_all_of_it_from_the_start(
    device: cuda_stand_in.Device, model: JanusModel, tiny: JanusModel, monkeypatch: pytest.MonkeyPatch, plenty: bool
) -> None:
    device.free = 2**33 if plenty else 2**17
    monkeypatch.setattr(tiny, "_text_head", replace(tiny._text_head, end_token_id=-1))
    monkeypatch.setattr(JanusPrompts, "max_text_tokens", 2 * GROWTH)
    sizes: list[int] = []
    allocate = model._engine.decoder.allocate_cache

    def noted(batch_size: int, capacity: int) -> Any:
        sizes.append(capacity)
        return allocate(batch_size, capacity)

    monkeypatch.setattr(model._engine.decoder, "allocate_cache", noted)
    request = ReasonRequest(PROMPTS[0], Key(0, "p"), max_new_tokens=2 * GROWTH, temperature=1.0)
    ids = endless(model).reason([request])[0].ids
    assert len(ids) == 2 * GROWTH and ids == tiny.reason([request])[0].ids
    assert sizes == ([384] if plenty else [256, 384])


def test_the_prefix_cache_has_a_share_of_the_free_memory_that_merging_the_weights_has_left(
    device: cuda_stand_in.Device, tiny_folder: Path
) -> None:
    device.free = 2**30
    assert load(tiny_folder).cache_bytes == 2**30 // CACHE_SHARE
    assert device.num_emptied == 1


def test_bfloat16_is_the_default_and_its_logits_are_not_rounded(
    device: cuda_stand_in.Device, tiny_folder: Path
) -> None:
    assert choose_dtype("auto", choose_device("auto")) == torch.bfloat16
    model = load(tiny_folder, "auto")
    assert model.identity()["dtype"] == "bfloat16" and len(drawn(model)[0]) == model.image_tokens
    (trace,) = model.reason([ReasonRequest("a star", Key(0, "p"), max_new_tokens=4, num_latents=4)])
    assert trace.latents is not None
    logits, rounded = model.text_logits(trace, trace.latents), model.text_logits(
        replace(trace, context="model"), trace.latents)  # fmt: skip
    assert logits.dtype == torch.float32 and rounded.dtype == torch.bfloat16
    assert not torch.equal(logits, logits.bfloat16().float()) and torch.equal(logits.bfloat16(), rounded)


def test_latents_move_on_the_device(device: cuda_stand_in.Device, tiny_folder: Path, tiny: JanusModel) -> None:
    moved = []
    for model in (load(tiny_folder), tiny):
        (trace,) = model.draw([DrawRequest("a star", Key(0, "p"), 5.0, num_latents=4)])
        assert trace.latents is not None
        state, info = update(start(trace.latents, trace.ids[:4]), lambda z, m=model, t=trace: m.image_logits(t, z, 5.0),
                             -0.5, learning_rate=0.1)  # fmt: skip
        moved.append((state.latents.tolist(), info.loss))
    assert moved[0][1] == pytest.approx(moved[1][1], rel=1e-4)
    torch.testing.assert_close(torch.tensor(moved[0][0]), torch.tensor(moved[1][0]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_gradient_of_a_product_in_float32_is_that_of_the_rounded_one(
    device: cuda_stand_in.Device, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    linear = torch.nn.Linear(8, 5).to(dtype).requires_grad_(False)
    values = torch.empty(2, 3, 8).normal_(generator=generator).to(dtype)
    outputs = []
    cuda_stand_in.put(linear)
    for place in ("cuda", "cuda rounded"):
        inputs = values.as_subclass(cuda_stand_in.OnCuda).requires_grad_(True)
        logits = float32_logits(linear, inputs) if place == "cuda" else linear(inputs).float()
        (gradient,) = torch.autograd.grad(logits.square().sum(), inputs)
        outputs.append((logits.detach().cpu(), gradient.cpu().float()))
    (logits, gradient), (rounded, other) = outputs
    assert torch.equal(logits.to(dtype).float(), rounded) and logits.shape == (2, 3, 5)
    torch.testing.assert_close(gradient, other, rtol=0.05, atol=0.05)


def test_logits_of_trained_heads_of_quantised_ones_and_on_a_cpu_are_those_of_the_head(tiny: JanusModel) -> None:
    head, latents = tiny.network.model.generation_head, torch.ones(2, 2, tiny_janus.WIDTH)
    assert torch.equal(float32_image_logits(head, latents), head(latents))
    linear = torch.nn.Linear(4, 3, dtype=torch.bfloat16)
    inputs = torch.ones(2, 4, dtype=torch.bfloat16)
    assert torch.equal(float32_logits(linear, inputs), linear(inputs).float())


@pytest.mark.parametrize("error", [TypeError, NotImplementedError])
def test_where_torch_has_no_such_product_the_rounded_logits_are_taken(
    device: cuda_stand_in.Device, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def refuse(*tensors: Any, **settings: Any) -> Any:
        raise error("out_dtype")

    monkeypatch.setattr(torch, "mm", refuse)
    float32_logits_module._tried.cache_clear()
    linear = cuda_stand_in.put(torch.nn.Linear(4, 3, dtype=torch.bfloat16).requires_grad_(False))
    inputs = torch.ones(2, 4, dtype=torch.bfloat16, device="cuda")
    assert torch.equal(float32_logits(linear, inputs), linear(inputs).float())
    float32_logits_module._tried.cache_clear()


def test_a_tensor_of_the_cpu_is_refused_on_the_device(device: cuda_stand_in.Device) -> None:
    there, here = torch.ones(2, device="cuda"), torch.ones(2)
    with pytest.raises(RuntimeError, match="found cuda:0 and cpu"):
        there + here
    assert there.tolist() == [1.0, 1.0] and device.waits == ["tolist"]


def test_devices_are_named_and_others_refused(device: cuda_stand_in.Device) -> None:
    assert choose_device("cuda:0") == "cuda:0"
    with pytest.raises(UsageError, match="there is cpu, cuda:0; use"):
        choose_device("cuda:7")
    with pytest.raises(UsageError, match="'int4' is unknown; use auto"):
        choose_dtype("int4", "cuda")


def test_of_many_devices_the_first_and_the_last_are_named(
    device: cuda_stand_in.Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    with pytest.raises(UsageError, match=r"there is cpu, cuda:0, \.\.\. cuda:7; use"):
        choose_device("cuda:x")
