"""The known failures, made on purpose with nano: the marks see them, and see none where there is none."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
from PIL import Image

from milr.options import Options
from milr.report.failures import failure_marks, looks_hacked
from milr.runs.store import Record, RunStore, StepRecord
from milr.shapes.detector import detect
from milr.shapes.planning import is_plan
from milr.workflows.prepare import prepare
from milr.workflows.running import run

PROMPTS = ["a photo of a red star left of a blue circle", "a photo of three hearts", "a photo of a green moon"]


NEVER = f"{Path(__file__).parents[1] / 'benchmarks' / 'weak_judge.py'}:never"  # every step moves with full force


def search(out: Path, options: Options) -> list[Record]:
    asyncio.run(run(prepare(PROMPTS, options), out=out))
    return RunStore(out).records()


def objects(step: StepRecord, out: Path) -> int:
    seen = detect(np.asarray(Image.open(out / step.picture)))
    return sum(one.score > 0.3 for found in seen.values() for one in found)


def test_text_collapse_is_marked_where_the_text_is_no_plan_any_more(tmp_path: Path) -> None:
    records = search(tmp_path, Options(reward=NEVER, schedule="text", learning_rate=3.0, steps=4))
    for record in records:
        first, last = record.steps[0], record.steps[-1]
        assert first.visualisation and is_plan(first.visualisation) and failure_marks(first) == []
        assert last.visualisation is not None and not is_plan(last.visualisation)
        assert "text collapse" in failure_marks(last), last.visualisation


def test_image_collapse_is_marked_where_the_objects_are_lost(tmp_path: Path) -> None:
    chosen = Options(reward=NEVER, schedule="image", image_ratio=1.0, learning_rate=3.0, steps=3)
    records = search(tmp_path, chosen)
    assert sum(objects(record.steps[0], tmp_path) for record in records) > 0
    for record in records:
        assert objects(record.steps[-1], tmp_path) == 0
        assert failure_marks(record.steps[-1]) == ["image collapse"]


def test_small_steps_are_not_marked(tmp_path: Path) -> None:
    records = search(tmp_path, Options(reward=NEVER, learning_rate=0.01, steps=3))
    assert all(step.moved for record in records for step in record.steps[1:])
    assert [failure_marks(step) for record in records for step in record.steps] == [[]] * 12
    assert not any(looks_hacked(record) for record in records)


def test_a_weak_judge_is_hacked_by_the_gradient_and_not_without_it(tmp_path: Path) -> None:
    weak = NEVER.replace(":never", ":coloured")
    moved, still = (search(tmp_path / str(rate), Options(reward=weak, learning_rate=rate, steps=12, threshold=1.0))
                    for rate in (0.1, 0.0))  # fmt: skip
    assert any(looks_hacked(record) for record in moved)
    assert not any(looks_hacked(record) for record in still)
