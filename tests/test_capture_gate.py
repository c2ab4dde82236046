"""Captures and judgements exclude each other; judgements do not exclude judgements."""

from __future__ import annotations

import threading

from milr.outside.capture_gate import CaptureGate


def test_no_capture_runs_beside_a_judgement() -> None:
    gate = CaptureGate()
    with gate.judging():
        with gate.judging(), gate.capturing(0.0) as is_free:
            assert not is_free
        with gate.capturing(0.01) as is_free:
            assert not is_free
    with gate.capturing(0.0) as is_free:
        assert is_free
        with gate.capturing(0.0) as another:
            assert not another


def test_a_judgement_waits_for_a_capture() -> None:
    gate, judged, order = CaptureGate(), threading.Event(), list[str]()

    def judge() -> None:
        with gate.judging():
            order.append("judged")
            judged.set()

    with gate.capturing(0.0):
        thread = threading.Thread(target=judge)
        thread.start()
        assert not judged.wait(0.05)
        order.append("captured")
    thread.join(10)
    assert order == ["captured", "judged"]


def test_a_capture_that_fails_lets_judgements_pass() -> None:
    gate = CaptureGate()
    try:
        with gate.capturing(0.0):
            raise RuntimeError("a broken capture")
    except RuntimeError:
        pass
    with gate.judging():
        pass
