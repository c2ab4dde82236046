"""Decode steps by graph, with Python in place of CUDA: captured work only ever runs again on its own buffers."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch

from milr.models.decoding.cuda_graphs import MAX_FAILURES, CudaGraphRunner
from milr.models.decoding.engine import DecodeEngine
from milr.models.decoding.request import DecodeResult
from milr.models.devices import prepare_cuda
from milr.outside.capture_gate import CaptureGate
from test_decoding import (
    RecordingDecoder,
    decoder,  # noqa: F401
    generate,
    head_of_table,
    ids_request,
    one_thread,  # noqa: F401
    pair_head,
    pair_request,
    text_head,
    text_request,
)


class Tape:
    """Runs the captured work when it is replayed."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.replay = work
        work()


def graph_engine(recording: RecordingDecoder, capture: Callable[[Callable[[], None]], Any] = Tape) -> DecodeEngine:
    engine = DecodeEngine(recording.inner)
    engine.decoder = recording
    engine._graph_runner = CudaGraphRunner(recording, capture)
    return engine


def assert_same(one: list[DecodeResult], other: list[DecodeResult]) -> None:
    for left, right in zip(one, other, strict=True):
        assert left.token_ids == right.token_ids
        assert (left.latents is None) == (right.latents is None)
        if left.latents is not None and right.latents is not None:
            torch.testing.assert_close(left.latents, right.latents, atol=1e-5, rtol=1e-5)


def test_pictures_and_texts_are_the_same(decoder: RecordingDecoder) -> None:  # noqa: F811
    engine = graph_engine(decoder)

    def pictures() -> list[Any]:
        return [
            pair_request(length, seed=length, num_latents=3, prefix=(1, 2)[: length % 3], max_new_tokens=9)
            for length in (3, 7, 5)
        ]

    def texts() -> list[Any]:
        return [
            text_request(length, num_latents=2, max_new_tokens=count)
            for length, count in ((3, 4), (6, 150), (4, 1), (5, 9))
        ]

    for _ in range(2):  # the second time every graph is there already
        assert_same(engine.generate(pair_head(), pictures()), generate(decoder, pair_head(), pictures()))
        assert_same(engine.generate(text_head(), texts()), generate(decoder, text_head(), texts()))


def test_shapes_are_rounded_so_that_few_graphs_serve(decoder: RecordingDecoder) -> None:  # noqa: F811
    captures: list[int] = []

    def counted(work: Callable[[], None]) -> Tape:
        captures.append(1)
        return Tape(work)

    engine = graph_engine(decoder, counted)
    for count in (3, 4, 3):
        decoder.forwards.clear()
        engine.generate(text_head(), [text_request(3 + index, max_new_tokens=6) for index in range(count)])
        assert set(decoder.forwards[1:]) == {(4, 1)}, "three are decoded as four, and idle sequences stay"
    assert len(captures) == 1
    engine.generate(text_head(), [text_request(3, max_new_tokens=140)])
    assert len(captures) == 3, "one sequence, with two lengths of the cache"
    engine.free_memory()
    engine.generate(text_head(), [text_request(3)])
    assert len(captures) == 4


def test_prefixes_are_shared_from_caches_of_graphs(decoder: RecordingDecoder) -> None:  # noqa: F811
    engine = graph_engine(decoder)
    requests = [ids_request(20, 21, 22, 23, num_latents=6), ids_request(24, 25, max_new_tokens=3)]
    first = engine.generate(head_of_table(), requests)
    decoder.forwards.clear()
    assert_same(engine.generate(head_of_table(), requests), first)
    assert decoder.forwards == [(2, 6)], "only the prompts' last tokens and the drafts are computed"
    engine._draft_cache.clear()
    decoder.forwards.clear()
    assert_same(engine.generate(head_of_table(), requests), first)
    assert decoder.forwards[0] == (2, 1)


def test_where_graphs_do_not_work_steps_run_eagerly_and_one_warning_is_logged(
    decoder: RecordingDecoder,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried: list[int] = []

    def broken(work: Callable[[], None]) -> Tape:
        tried.append(1)
        raise RuntimeError("operation not permitted when stream is capturing\nand so on")

    engine = graph_engine(decoder, broken)
    for _ in range(2):
        by_graph, eager = ([pair_request(3), pair_request(4)] for _ in range(2))  # each has noise of its own
        assert_same(engine.generate(pair_head(), by_graph), generate(decoder, pair_head(), eager))
    assert len(caplog.messages) == 1 and len(tried) == MAX_FAILURES
    assert "do not work here (operation not permitted when stream is capturing)" in caplog.messages[0]


def test_a_capture_that_failed_is_tried_again(decoder: RecordingDecoder, caplog: pytest.LogCaptureFixture) -> None:  # noqa: F811
    outcomes = iter(["broken", "captured"])

    def capture(work: Callable[[], None]) -> Tape:
        if next(outcomes) == "broken":
            raise RuntimeError("a judge has emptied the cache meanwhile")
        return Tape(work)

    engine = graph_engine(decoder, capture)
    assert_same(engine.generate(text_head(), [text_request(3)]), generate(decoder, text_head(), [text_request(3)]))
    assert engine._graph_runner is not None and len(engine._graph_runner._graphs) == 1 and not caplog.messages


def test_caches_of_one_shape_have_graphs_of_their_own(decoder: RecordingDecoder) -> None:  # noqa: F811
    runner, inputs_embeds = CudaGraphRunner(decoder, Tape), torch.randn(2, 1, 16)
    caches = [decoder.allocate_cache(2, 128) for _ in range(2)]
    bias = torch.full((2, 1, 1, 128), -torch.inf)
    bias[..., 0] = 0.0
    position_ids = torch.zeros(2, 1, dtype=torch.long)
    for _ in range(2):
        for index, cache in enumerate(caches):
            runner(inputs_embeds * (index + 1), position_ids, cache, 0, bias)
    assert not torch.equal(caches[0].keys[..., 0, :], caches[1].keys[..., 0, :])
    assert len(runner._graphs) == 2


def test_at_most_max_graphs_are_held(decoder: RecordingDecoder, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr("milr.models.decoding.cuda_graphs.MAX_GRAPHS", 2)
    engine = graph_engine(decoder)
    for count in (1, 2, 4, 8):
        requests = [text_request(3 + index, max_new_tokens=4) for index in range(count)]
        assert_same(engine.generate(text_head(), requests), generate(decoder, text_head(), requests))
    assert engine._graph_runner is not None and len(engine._graph_runner._graphs) == 2


def test_a_full_memory_while_capturing_is_no_reason_to_go_without_graphs(decoder: RecordingDecoder) -> None:  # noqa: F811
    full = [True]

    def capture(work: Callable[[], None]) -> Tape:
        if full.pop() if full else False:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Tape(work)

    engine = graph_engine(decoder, capture)
    with pytest.raises(torch.OutOfMemoryError):
        engine.generate(text_head(), [text_request(3)])
    assert_same(engine.generate(text_head(), [text_request(3)]), generate(decoder, text_head(), [text_request(3)]))
    assert engine._graph_runner is not None and len(engine._graph_runner._graphs) == 1


def test_cudnns_attention_is_not_chosen_and_bfloat16_sums_are_exact() -> None:
    matmul = torch.backends.cuda.matmul
    before = torch.backends.cuda.cudnn_sdp_enabled(), matmul.allow_bf16_reduced_precision_reduction
    try:
        prepare_cuda()
        assert not torch.backends.cuda.cudnn_sdp_enabled() and not matmul.allow_bf16_reduced_precision_reduction
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before[0])
        matmul.allow_bf16_reduced_precision_reduction = before[1]


def test_a_shape_is_captured_at_its_second_use_and_not_while_a_judge_works(decoder: RecordingDecoder) -> None:  # noqa: F811
    engine, gate = graph_engine(decoder), CaptureGate()
    engine._graph_runner = runner = CudaGraphRunner(decoder, Tape, gate)
    engine.generate(text_head(), [text_request(3, max_new_tokens=2)])
    assert engine.num_captures == 0, "one step, one use"
    with gate.judging():
        engine.generate(text_head(), [text_request(4, max_new_tokens=9)])
    assert engine.num_captures == 0 and runner._num_failures == 0
    engine.generate(text_head(), [text_request(5, max_new_tokens=9)])
    assert engine.num_captures == 1


def test_graphs_of_freed_memory_are_dropped(decoder: RecordingDecoder) -> None:  # noqa: F811
    class Idle:
        """Holds no reference to the cache, as a graph of CUDA holds none."""

        def replay(self) -> None: ...

    def capture(work: Callable[[], None]) -> Idle:
        return Idle()

    engine = graph_engine(decoder, capture)
    runner = engine._graph_runner
    assert runner is not None
    engine.generate(text_head(), [text_request(3, max_new_tokens=9)])
    decoder.free_memory()
    gc.collect()
    (dead,) = runner._graphs.values()
    assert not dead.is_valid()
    engine.generate(text_head(), [text_request(3, max_new_tokens=9), text_request(4, max_new_tokens=9)])
    assert engine.num_captures == 2
    assert all(captured is not dead for captured in runner._graphs.values()), "the dead one is gone"


def test_an_engine_without_graphs_runs_every_step_eagerly(decoder: RecordingDecoder) -> None:  # noqa: F811
    engine = graph_engine(decoder)
    engine.without_graphs()
    requests = [text_request(3, max_new_tokens=9)]
    assert_same(engine.generate(text_head(), requests), generate(decoder, text_head(), requests))
    assert engine.num_captures == 0
