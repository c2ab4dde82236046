"""The rows of the speed benchmark, and everything that is worked out from them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

Kind = Literal["text", "draw", "render", "milr"]
KINDS: tuple[Kind, ...] = ("text", "draw", "render", "milr")
PLAIN, GENERATE, OURS = "plain loop", "transformers generate", "ours"
LONG_RUN = 20


@dataclass(frozen=True)
class Row:
    """One measurement: `in_flight` prompts at once made `pictures` pictures or `tokens` tokens in `seconds`.

    Of a search: `finished[k]` is when step k of every prompt was done, `first_picture` when the first picture of any
    was there, `parts` the seconds by kind of work, `changed` the share of steps whose text changed. `equal` is the
    share of the first prompt's tokens that the plain loop has, too; `near_ties` says whether it had a near tie;
    `divergence` is the mean KL divergence from the plain loop's distributions to ours, in nats, over the tokens up to
    the first that differs.
    `streaming` and `arithmetic` are shares of the hardware's limits. `ratios` and `cpu_ratios` are those of all rounds
    to the plain loop of the same round, where there were several; the rest is of the round in their middle.
    """

    kind: Kind
    way: str
    in_flight: int
    seconds: float
    cpu_seconds: float = 0.0
    pictures: int = 0
    tokens: int = 0
    peak_bytes: int = 0
    warm_up: float = 0.0
    first_picture: float | None = None
    finished: tuple[float, ...] = ()
    parts: dict[str, float] = field(default_factory=dict)
    changed: float | None = None
    equal: float | None = None
    near_ties: int = 0
    divergence: float | None = None
    streaming: float | None = None
    arithmetic: float | None = None
    ratios: tuple[float, ...] = ()
    cpu_ratios: tuple[float, ...] = ()

    @property
    def rate(self) -> float:
        """Tokens a second of texts, pictures a second of everything else."""
        return self.made / self.seconds

    @property
    def made(self) -> int:
        """What the rate counts."""
        return self.tokens if self.kind == "text" else self.pictures

    @property
    def long_run(self) -> float | None:
        """Seconds to the end of 20 steps of every prompt: scaled from the steps that were run."""
        if len(self.finished) < 2:
            return None
        return self.finished[0] + (self.finished[-1] - self.finished[0]) / (len(self.finished) - 1) * LONG_RUN

    @property
    def step_rate(self) -> float | None:
        """Steps a second after the first picture, all prompts together."""
        if len(self.finished) < 2:
            return None
        return self.in_flight * (len(self.finished) - 1) / (self.finished[-1] - self.finished[0])


def ratio(row: Row, rows: Sequence[Row]) -> float | None:
    """How many times the plain loop's rate at the same kind of work; None where that was not measured."""
    base = _base(row, rows)
    if row.ratios:
        return statistics.median(row.ratios)
    return None if base is None else row.rate / base.rate


def cpu_ratio(row: Row, rows: Sequence[Row]) -> float | None:
    """The same of CPU time: what is left of a ratio when other programs share the machine."""
    base = _base(row, rows)
    if row.cpu_ratios:
        return statistics.median(row.cpu_ratios)
    return None if base is None else _cpu_ratio(row, base)


def _cpu_ratio(row: Row, base: Row) -> float | None:
    if not row.cpu_seconds or not base.cpu_seconds:
        return None
    return (row.made / row.cpu_seconds) / (base.made / base.cpu_seconds)


def both(one: Row, other: Row) -> Row:
    """Two runs of the same work as one of both."""
    return replace(one, seconds=one.seconds + other.seconds, cpu_seconds=one.cpu_seconds + other.cpu_seconds,
                   pictures=one.pictures + other.pictures, tokens=one.tokens + other.tokens)  # fmt: skip


def typical(rows: Sequence[Row]) -> Row:
    """The row of the median rate; of an even number, the quicker of the two in the middle."""
    return sorted(rows, key=lambda row: row.rate)[len(rows) // 2]


def middle(rounds: Sequence[tuple[Row, Row]]) -> Row:
    """Of (the plain loop's row, this row) of every round, an odd number, this row of the round whose ratio is the
    median."""
    ratios = [row.rate / base.rate for base, row in rounds]
    of_cpu = [found for base, row in rounds if (found := _cpu_ratio(row, base)) is not None]
    chosen = sorted(range(len(ratios)), key=ratios.__getitem__)[len(ratios) // 2]
    return replace(rounds[chosen][1], ratios=tuple(ratios), cpu_ratios=tuple(of_cpu))


def _base(row: Row, rows: Sequence[Row]) -> Row | None:
    return next((other for other in rows if other.kind == row.kind and other.way == PLAIN), None)


def told(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as plain data, with what is worked out from them."""
    return [
        asdict(row)
        | {
            "pictures_per_second": row.pictures / row.seconds if row.pictures else None,
            "tokens_per_second": row.tokens / row.seconds if row.tokens else None,
            "seconds_to_20_steps": row.long_run,
            "scaled": row.long_run is not None and len(row.finished) <= LONG_RUN,
            "steps_per_second": row.step_rate,
            "ratio": ratio(row, rows),
            "cpu_ratio": cpu_ratio(row, rows),
            "cpu_share": row.cpu_seconds / row.seconds,
        }
        for row in rows
    ]


def share_equal(ours: Sequence[Sequence[int]], plain: Sequence[Sequence[int]]) -> float:
    """The share of tokens that stand at the same place of the same sequence, of all in the longer of each pair."""
    pairs = list(zip(ours, plain, strict=False))
    equal = sum(a == b for one, other in pairs for a, b in zip(one, other, strict=False))
    return equal / sum(max(len(one), len(other)) for one, other in pairs)
