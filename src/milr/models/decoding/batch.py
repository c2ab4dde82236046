"""Sequences that are decoded together over one cache: padded on the left, so that all end, and go on, at one place.

What a sequence shares with an earlier one is copied from `Prefixes`; the rest is read in groups of like length, each in
one forward. Streams are sorted by how much of them has to be read; `Batch` knows which stream is whose.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from milr.models.decoding.cuda_graphs import StepGraphs
from milr.models.decoding.llama import KeyValues, Stack
from milr.models.decoding.prefix_cache import Key, Prefixes

GROWTH = 16  # places by which a full cache grows on a CPU, whose products want it without gaps
LARGE_GROWTH = 128  # places by which the others grow
ROUND = 128  # places to which a cache for graphs is rounded up
SHAPES = (1, 2, 4, 8, 16, 32, 48, 64, 96, 128)  # streams for which there are graphs
READ = 2**13  # inputs of one forward: the conditional and the unconditional streams need not be read at once
GAPLESS = 2**30  # bytes; no larger cache grows in small steps


@dataclass(frozen=True)
class Stream:
    """One sequence to be read: embedded (L, d), and by ids where it may be shared (`key`, L of them).

    The hidden states of the last `fresh` inputs, at least one, are wanted. `known` is what a cache held of its
    beginning, where that is at hand.
    """

    inputs: Tensor
    key: Key | None
    fresh: int
    known: Tensor | None = None


@dataclass(frozen=True)
class _Placed:
    """A stream in the batch: whose it is, which of the row's it is, and what the cache knows of it already."""

    row: int
    part: int
    stream: Stream
    known: Tensor | None

    @property
    def length(self) -> int:
        return len(self.stream.inputs)

    @property
    def unread(self) -> int:
        return self.length - (0 if self.known is None else self.known.shape[3])


class Batch:
    """Rows of G streams each. `places` (B, G) says where the streams of every row lie.

    With `graphs`, steps are taken by them: shapes are rounded up, so that few graphs serve, and the streams of rows
    that have left go on as idle ones.
    """

    def __init__(self, stack: Stack, prefixes: Prefixes, rows: Sequence[Sequence[Stream]], room: int,
                 graphs: StepGraphs | None = None) -> None:  # fmt: skip
        placed = [_Placed(row, part, stream, _known(prefixes, stream))
                  for row, streams in enumerate(rows) for part, stream in enumerate(streams)]  # fmt: skip
        self._placed = sorted(placed, key=lambda one: -one.unread)
        self._stack, self._prefixes, self._graphs = stack, prefixes, graphs
        self._width = self._end = max(one.length for one in placed)
        whole = len(placed) * (self._width + room) * stack.bytes_of_a_place
        self._gapless = placed[0].stream.inputs.device.type == "cpu" and graphs is None and whole < GAPLESS
        places = self._width + (min(room, GROWTH) if self._gapless else room)
        self._cache = stack.cache(self._spaces(len(placed)), places if graphs is None else _rounded(places, ROUND))
        self._sum = torch.zeros((), device=self._cache.values.device)  # no number once any hidden state is none
        self._index(list(range(len(rows))))

    def _spaces(self, streams: int) -> int:
        """For how many streams there is to be space."""
        return streams if self._graphs is None else next((n for n in SHAPES if n >= streams), _rounded(streams, 64))

    def _index(self, rows: Sequence[int]) -> None:
        """Say anew where everything lies, for `rows` in this order; idle streams do as the first row does."""
        order = {(one.row, one.part): place for place, one in enumerate(self._placed)}
        parts = 1 + max(one.part for one in self._placed)
        device, idle = self._cache.values.device, self._cache.streams - len(self._placed)
        self._rows = list(rows)
        self.places = torch.tensor([[order[row, part] for part in range(parts)] for row in rows], device=device)
        number = {row: place for place, row in enumerate(rows)}
        owners = [number.get(one.row, 0) for one in self._placed]
        lengths = [one.length for one in self._placed]
        self._owner = torch.tensor([*owners, *[0] * idle], device=device)
        self._padding = self._width - torch.tensor([*lengths, *[0] * idle], device=device)
        self._bias: Tensor | None = None

    def read(self) -> list[Tensor]:
        """Read all sequences; for each row the hidden states of its last `fresh` inputs, (G, fresh, d)."""
        found: dict[tuple[int, int], Tensor] = {}
        for first, last in self._groups():
            states = self._read(first, last)
            for one, hidden in zip(self._placed[first:last], states, strict=True):
                found[one.row, one.part] = hidden[-one.stream.fresh :]
        self._placed = [replace(one, known=None, stream=replace(one.stream, known=None)) for one in self._placed]
        parts = self.places.shape[1]
        return [torch.stack([found[row, part] for part in range(parts)]) for row in self._rows]

    def _groups(self) -> Iterator[tuple[int, int]]:
        """Neighbours of which none has less than half as much to read as the first, and no more than READ together."""
        first = 0
        for place, one in enumerate(self._placed):
            most = self._placed[first].unread
            if 2 * one.unread < most or (place - first + 1) * most > max(READ, most):
                yield first, place
                first = place
        yield first, len(self._placed)

    def _read(self, first: int, last: int) -> Tensor:
        """One forward over a group: as many inputs of each as the first has unread. -> (S, W, d)"""
        group = self._placed[first:last]
        width, longest = group[0].unread, max(one.length for one in group)
        start = self._width - longest
        cache = self._cache.of(first, last, start)
        for stream, one in enumerate(group):
            self._restore(cache, stream, one, longest, one.length - width)
        inputs = torch.stack([pad(one.stream.inputs[-width:], (0, 0, max(0, width - one.length), 0)) for one in group])
        columns = torch.arange(longest - width, longest, device=inputs.device)
        padding = (self._padding[first:last] - start)[:, None]
        positions = (columns - padding).clamp(min=0)
        bias = None
        if longest > width or any(one.length < width for one in group):
            bias = _bias(padding, columns, longest, inputs.dtype)
        states = self._stack(inputs, positions, cache, longest - width, bias)
        self._sum = self._sum + states.sum(dtype=torch.float32)
        return states

    @staticmethod
    def _restore(cache: KeyValues, stream: int, one: _Placed, longest: int, count: int) -> None:
        """Copy the first `count` places of what is known of a stream."""
        padding = longest - one.length
        if count > 0 and one.known is not None:
            cache.restore(stream, padding, one.known[:, :, :, :count])

    def step(self, inputs: Tensor) -> Tensor:
        """Feed one input to every stream of every row. (B, d) -> (B, G, d)"""
        if self._end == self._cache.places:
            self._grow()
        if self._bias is None:
            self._bias = self._seen()
        self._bias[..., self._end] = 0.0
        positions, fed = (self._end - self._padding)[:, None], inputs[self._owner][:, None]
        if self._graphs:
            hidden = self._graphs(fed, positions, self._cache, self._end, self._bias)
        else:
            bias = self._bias if self._gapless else self._bias[..., : self._end + 1]
            hidden = self._stack(fed, positions, self._cache, self._end, bias)
        self._end += 1
        self._sum = self._sum + hidden.sum(dtype=torch.float32)
        return hidden[:, 0][self.places]

    def _seen(self) -> Tensor:
        """0 at the places of each stream that are written, -inf at padding and at what is to come. (S, 1, 1, M)"""
        columns = torch.arange(self._cache.places, device=self._padding.device)
        hidden = (columns < self._padding[:, None]) | (columns >= self._end)
        bias = torch.zeros(hidden.shape, dtype=self._cache.values.dtype, device=hidden.device)
        return bias.masked_fill(hidden, -torch.inf)[:, None, None]

    def _grow(self) -> None:
        growth = GROWTH if self._gapless else LARGE_GROWTH
        larger = self._stack.cache(self._cache.streams, self._end + growth)
        larger.take(self._cache)
        self._let_go()
        self._cache, self._bias = larger, None

    def close(self) -> None:
        """Nothing is decoded any more."""
        self._let_go()

    def _let_go(self) -> None:
        """Give the cache's memory back, unless what was read may have left something in it that is no number."""
        if bool(self._sum.isfinite()):
            self._stack.give_back(self._cache)

    def select(self, rows: Sequence[int]) -> None:
        """Keep these of the rows, counted as they are now."""
        left = [self._rows[row] for row in rows]
        if self._graphs is None:
            streams = [place for place, one in enumerate(self._placed) if one.row in left]
            fewer = self._stack.cache(len(streams), self._cache.places)
            fewer.take(self._cache, torch.tensor(streams, device=fewer.values.device))
            self._let_go()
            self._cache = fewer
            self._placed = [self._placed[place] for place in streams]
        self._index(left)

    def held(self, row: int, count: int) -> tuple[Tensor, ...]:
        """A copy of what the cache holds of the first `count` places of each of a row's sequences."""
        starts = [(place, self._width - self._placed[place].length) for place in self.places[row].tolist()]
        return tuple(self._cache.held(place, start, start + count) for place, start in starts)

    def keep(self, row: int, more: Key = ()) -> None:
        """Let later batches share what the cache holds of a row: its sequences, and the ids `more` read since."""
        for place in self.places[row].tolist():
            one = self._placed[place]
            if one.stream.key is None or self._prefixes.knows(whole := one.stream.key + more):
                continue
            start = self._width - one.length
            self._prefixes.keep(whole, self._cache.held(place, start, start + len(whole)))


def _known(prefixes: Prefixes, stream: Stream) -> Tensor | None:
    if stream.known is not None:
        return stream.known
    return None if stream.key is None else prefixes.longest(stream.key, len(stream.key) - stream.fresh)


def _bias(padding: Tensor, columns: Tensor, end: int, dtype: torch.dtype) -> Tensor:
    """0 where the input at a column may look, -inf elsewhere: not ahead and not at padding; padding sees itself, or its
    attention would be no number. (S, 1), (W,) -> (S, 1, W, end)"""
    seen = torch.arange(end, device=columns.device)
    allowed = (seen <= columns[:, None]) & (seen >= padding[:, None])
    allowed = allowed | (seen == columns[:, None])
    bias = torch.zeros(allowed.shape, dtype=dtype, device=columns.device)
    return bias.masked_fill(~allowed, -torch.inf)[:, None]


def _rounded(count: int, step: int) -> int:
    return -(-count // step) * step
