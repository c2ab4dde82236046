"""Whether two outcomes are the same: equal tokens and scores, different only from a near tie on record on.

Batched and single logits differ by about 1e-6 in fp32, so the better of two tokens that nearly tie may change with
the batch; from there on everything may differ. A difference without a tie at its first token is a bug.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from milr.types import ImageTrace, Outcome, Step, TextTrace

Trace = TextTrace | ImageTrace


def assert_same(one: Outcome, other: Outcome, *, tolerance: float = 1e-4) -> bool:
    """True when all tokens are equal; False when they part at a near tie; fails otherwise."""
    for left, right in zip(one.steps, other.steps, strict=False):
        for name, (first, second) in _traces(left, right):
            parted = first_difference(first.ids, second.ids)
            if parted is not None:
                known = parted in (*first.near_ties, *second.near_ties)
                assert known, f"step {left.index}, {name} token {parted}: {first.ids} and {second.ids} without a tie"
                return False
        _assert_same_score(left, right, tolerance)
    assert len(one.steps) == len(other.steps), (len(one.steps), len(other.steps))
    assert (one.stop, one.best, one.returned) == (other.stop, other.best, other.returned)
    return True


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """The first place at which two sequences differ; None when they are equal."""
    pairs = enumerate(zip(one, other, strict=False))
    parted = next((place for place, (left, right) in pairs if left != right), None)
    return min(len(one), len(other)) if parted is None and len(one) != len(other) else parted


def _traces(one: Step, other: Step) -> Iterator[tuple[str, tuple[Trace, Trace]]]:
    texts = one.rollout.visualisation, other.rollout.visualisation
    assert (texts[0] is None) == (texts[1] is None), texts
    if texts[0] is not None and texts[1] is not None:
        yield "text", (texts[0], texts[1])
    yield "image", (one.rollout.image, other.rollout.image)


def _assert_same_score(one: Step, other: Step, tolerance: float) -> None:
    values = one.score.value, other.score.value
    assert (values[0] is None) == (values[1] is None), f"step {one.index}: {values}"
    if values[0] is not None and values[1] is not None:
        assert abs(values[0] - values[1]) <= tolerance, f"step {one.index}: {values}"
