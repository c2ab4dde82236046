"""Steps by graph, with Python standing in for CUDA: what is captured is only ever run again on its own buffers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from milr.models.decoding.cuda_graphs import StepGraphs
from milr.models.decoding.engine import Decoded, Decoder
from test_decoding import (
    Recorder,
    decode,
    head_of_table,
    keyed,
    one_thread,  # noqa: F401
    pair_head,
    pair_row,
    text_head,
    text_row,
    transformer,  # noqa: F401
)


class Tape:
    """Runs the captured work when it is replayed."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.replay = work
        work()


def by_graph(layers: Recorder, capture: Callable[[Callable[[], None]], Any] = Tape) -> Decoder:
    decoder = Decoder(layers.inner)
    decoder.stack = layers
    decoder._graphs = StepGraphs(layers, capture)
    return decoder


def same(one: list[Decoded], other: list[Decoded]) -> None:
    for left, right in zip(one, other, strict=True):
        assert left.ids == right.ids
        assert (left.latents is None) == (right.latents is None)
        if left.latents is not None and right.latents is not None:
            torch.testing.assert_close(left.latents, right.latents, atol=1e-5, rtol=1e-5)


def test_pictures_and_texts_are_the_same(transformer: Recorder) -> None:  # noqa: F811
    decoder = by_graph(transformer)

    def pictures() -> list[Any]:
        return [pair_row(length, seed=length, keep=3, prefix=(1, 2)[: length % 3], count=9) for length in (3, 7, 5)]

    def texts() -> list[Any]:
        return [text_row(length, keep=2, count=count) for length, count in ((3, 4), (6, 150), (4, 1), (5, 9))]

    for _ in range(2):  # the second time every graph is there already
        same(decoder.decode(pair_head(), pictures()), decode(transformer, pair_head(), pictures()))
        same(decoder.decode(text_head(), texts()), decode(transformer, text_head(), texts()))


def test_shapes_are_rounded_so_that_few_graphs_serve(transformer: Recorder) -> None:  # noqa: F811
    made: list[int] = []

    def counted(work: Callable[[], None]) -> Tape:
        made.append(1)
        return Tape(work)

    decoder = by_graph(transformer, counted)
    for count in (3, 4, 3):
        transformer.forwards.clear()
        decoder.decode(text_head(), [text_row(3 + row, count=6) for row in range(count)])
        assert set(transformer.forwards[1:]) == {(4, 1)}, "three are decoded as four, and idle ones go on"
    assert len(made) == 1
    decoder.decode(text_head(), [text_row(3, count=140)])
    assert len(made) == 3, "one stream, in two stretches"
    decoder.forget()
    decoder.decode(text_head(), [text_row(3)])
    assert len(made) == 4


def test_beginnings_are_shared_from_caches_of_graphs(transformer: Recorder) -> None:  # noqa: F811
    decoder = by_graph(transformer)
    rows = [keyed(20, 21, 22, 23, keep=6), keyed(24, 25, count=3)]
    first = decoder.decode(head_of_table(), rows)
    transformer.forwards.clear()
    same(decoder.decode(head_of_table(), rows), first)
    assert transformer.forwards == [(2, 6)], "nothing but the prompts' last tokens and the drafts"
    decoder._drafts.clear()
    transformer.forwards.clear()
    same(decoder.decode(head_of_table(), rows), first)
    assert transformer.forwards[0] == (2, 1)


def test_where_graphs_do_not_work_steps_are_taken_without_and_that_is_said_once(
    transformer: Recorder,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(work: Callable[[], None]) -> Tape:
        raise RuntimeError("operation not permitted when stream is capturing\nand so on")

    decoder = by_graph(transformer, broken)
    for _ in range(2):
        same(decoder.decode(pair_head(), [pair_row(3), pair_row(4)]), decode(transformer, pair_head(), [pair_row(3),
             pair_row(4)]))  # fmt: skip
    assert len(caplog.messages) == 1
    assert "do not work here (operation not permitted when stream is capturing)" in caplog.messages[0]


def test_caches_of_one_shape_have_graphs_of_their_own(transformer: Recorder) -> None:  # noqa: F811
    graphs, given = StepGraphs(transformer, Tape), torch.randn(2, 1, 16)
    caches = [transformer.cache(2, 128) for _ in range(2)]
    bias = torch.full((2, 1, 1, 128), -torch.inf)
    bias[..., 0] = 0.0
    places = torch.zeros(2, 1, dtype=torch.long)
    for _ in range(2):
        for number, cache in enumerate(caches):
            graphs(given * (number + 1), places, cache, 0, bias)
    assert not torch.equal(caches[0].keys[..., 0, :], caches[1].keys[..., 0, :])
    assert len(graphs._steps) == 2


def test_no_more_graphs_are_held_than_said(transformer: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr("milr.models.decoding.cuda_graphs.MOST", 2)
    decoder = by_graph(transformer)
    for count in (1, 2, 4, 8):
        rows = [text_row(3 + row, count=4) for row in range(count)]
        same(decoder.decode(text_head(), rows), decode(transformer, text_head(), rows))
    assert decoder._graphs is not None and len(decoder._graphs._steps) == 2


def test_a_full_memory_while_capturing_is_no_reason_to_go_without_graphs(transformer: Recorder) -> None:  # noqa: F811
    full = [True]

    def capture(work: Callable[[], None]) -> Tape:
        if full.pop() if full else False:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Tape(work)

    decoder = by_graph(transformer, capture)
    with pytest.raises(torch.OutOfMemoryError):
        decoder.decode(text_head(), [text_row(3)])
    same(decoder.decode(text_head(), [text_row(3)]), decode(transformer, text_head(), [text_row(3)]))
    assert decoder._graphs is not None and len(decoder._graphs._steps) == 1
