"""Experiment files: what they may say, the runs they make, and that the same command goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import official_files
from milr import catalog
from milr.benchmarks.selection import select_prompts
from milr.options import Options
from milr.runs.events import Listeners, RunFinished, RunStarted, SearchFinished, SearchFound
from milr.runs.store import RunStore
from milr.types import Prompt, UsageError
from milr.workflows.estimate import DecodeSpeed, Estimate, estimate, format_duration, measure_speed
from milr.workflows.experiments import (
    count_finished,
    execute_run,
    experiment_runs,
    prepare_runs,
    read_experiment,
)
from milr.workflows.prepare import prepare

RECIPES = sorted((Path(__file__).parents[1] / "experiments").glob("*.toml"))
SMALL = """
title = "two rows"
benchmark = "shapes"
split = "development"
seeds = [0, 1]
categories = ["colors", "position"]
limit = 2
against = "drawn"
[base]
reward = "detector"
pictures = 2
[rows."drawn"]
method = "redraw_plain"
[rows."Thought, then drawn"]
method = "latent_reasoning"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "small.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_is_sound(path: Path, tmp_path: Path) -> None:
    plan = read_experiment(path)
    if plan.benchmark in (official := official_files.write_all(tmp_path)):
        plan = plan.replaced(prompts=str(official[plan.benchmark]))  # those of the benchmark would be fetched
    assert plan.title and plan.select_prompts() and all(plan.options(row, 0) for row in plan.rows)
    assert plan.against in plan.rows or plan.agreement
    for row in plan.rows:
        assert plan.options(row, 0).method in catalog.METHODS
    assert len({run.folder for run in experiment_runs(plan, Path("x"))}) == len(plan.rows) * len(plan.seeds)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("title =", "titel =", "title"),
        ("benchmark =", "# benchmark =", "benchmark"),
        ("pictures = 2", "picture = 2", "pictures"),
        ('against = "drawn"', 'against = "drawm"', "drawn"),
        ("pictures = 2", "pictures = 0", "at least 1"),
        ("limit = 2", "limit = two", "TOML"),
        ("pictures = 2", "seed = 2", "option"),
        ("seeds = [0, 1]", 'seeds = "x"', "seeds"),
        ("seeds = [0, 1]", "seeds = []", "seeds"),
        ("seeds = [0, 1]", "seeds = [1, 1]", "twice"),
        ("limit = 2", 'limit = "2"', "limit"),
        ("limit = 2", "limit = 1.5", "limit"),
        ("pictures = 2", 'pictures = "2"', "pictures must be a whole number"),
        ("pictures = 2", 'stop = "no"', "stop must be true or false"),
        ("pictures = 2", "samples = 1.5", "samples must be a whole number"),
        ('[rows."drawn"]', '[rows."Thought then, drawn"]', "row"),
        ('[rows."drawn"]', '[rows."日本"]\nmethod = "plain"\n[rows."drawn"]', "name with letters"),
        ('against = "drawn"', 'agreement = ["self"]', "pictures_of"),
        ('against = "drawn"', 'agreement = ["shelf"]', "self"),
        ('benchmark = "shapes"', "benchmark = 3", "benchmark"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in SMALL
    with pytest.raises(UsageError, match=says) as error:
        read_experiment(written(tmp_path, SMALL.replace(old, new)))
    assert "\n" not in str(error.value)


def test_prompts_are_spread_and_categories_checked() -> None:
    prompts = [Prompt(str(i), category="ab"[i % 2]) for i in range(10)]
    assert [p.text for p in select_prompts(prompts, (), 5)] == ["0", "2", "4", "6", "8"]
    assert [p.text for p in select_prompts(prompts, ("b",), 2)] == ["1", "5"]
    assert select_prompts(prompts, (), 99) == select_prompts(prompts) == prompts
    for wrong in ({"categories": ("c",)}, {"limit": 0}):
        with pytest.raises(UsageError):
            select_prompts(prompts, **wrong)  # type: ignore[arg-type]


def test_rows_and_seeds_are_runs_that_resume(tmp_path: Path) -> None:
    plan = read_experiment(written(tmp_path, SMALL))
    runs = experiment_runs(plan, tmp_path / "out")
    assert [(run.row, run.seed) for run in runs][:3] == [("drawn", 0), ("Thought, then drawn", 0), ("drawn", 1)]
    assert runs[1].folder == tmp_path / "out" / "thought-then-drawn" / "seed-0"
    (run, prepared), (_, other) = list(prepare_runs(plan, runs[:2], in_flight=4))
    assert prepared.model is other.model and prepared.oracle and prepared.label == "drawn"
    assert count_finished(run, prepared) == 0
    events = []
    asyncio.run(execute_run(run, prepared, Listeners(events.append)))
    assert count_finished(run, prepared) == 2 and list(map(type, events)).count(SearchFinished) == 2
    stored = RunStore(run.folder).run()
    assert stored.config.label == "drawn" and stored.config.benchmark == "shapes" and stored.config.oracle
    assert stored.sittings[-1].in_flight == 4 and stored.sittings[-1].peak_memory > 1e7
    assert RunStore(run.folder).prompts() == list(prepared.prompts)
    events.clear()
    asyncio.run(execute_run(run, prepared, Listeners(events.append)))
    assert list(map(type, events)) == [RunStarted, SearchFound, SearchFound, RunFinished]


def test_a_folder_of_another_run_is_refused_before_anything_starts(tmp_path: Path) -> None:
    plan = read_experiment(written(tmp_path, SMALL))
    (run, prepared), *_ = prepare_runs(plan, experiment_runs(plan, tmp_path / "out")[:1])
    asyncio.run(execute_run(run, prepared))
    other = read_experiment(written(tmp_path, SMALL.replace("pictures = 2", "pictures = 3")))
    (again, changed), *_ = prepare_runs(other, experiment_runs(other, tmp_path / "out")[:1])
    assert again.folder == run.folder
    with pytest.raises(UsageError, match="pictures"):
        count_finished(again, changed)


def test_a_lost_picture_is_made_again(tmp_path: Path) -> None:
    plan = read_experiment(written(tmp_path, SMALL))
    (run, prepared), *_ = prepare_runs(plan, experiment_runs(plan, tmp_path / "out")[:1])
    asyncio.run(execute_run(run, prepared))
    lost = next(run.folder.glob("images/*/000.png"))
    before, tokens = np.asarray(Image.open(lost), int), drawn(run.folder)
    lost.unlink()
    assert count_finished(run, prepared) == 1
    asyncio.run(execute_run(run, prepared))
    assert count_finished(run, prepared) == 2 and drawn(run.folder) == tokens
    again = np.asarray(Image.open(lost), int)
    assert abs(again - before).max() <= 1, "rendered alone, a pixel may be rounded the other way"


def drawn(folder: Path) -> dict[str, list[tuple[int, ...]]]:
    return {record.prompt.text: [step.image_ids for step in record.steps] for record in RunStore(folder).records()}


def test_the_report_metric_is_the_benchmarks(tmp_path: Path) -> None:
    plan = read_experiment(written(tmp_path, SMALL))
    assert plan.options("drawn", 0).metric == "detector"
    named = read_experiment(written(tmp_path, SMALL.replace("pictures = 2", 'metric = "held-out"')))
    assert named.options("drawn", 0).metric == "held-out"


def test_only_some_rows(tmp_path: Path) -> None:
    plan = read_experiment(written(tmp_path, SMALL))
    assert {run.row for run in experiment_runs(plan, tmp_path, ["drawn"])} == {"drawn"}
    with pytest.raises(UsageError, match="drawn"):
        experiment_runs(plan, tmp_path, ["drown"])


def test_the_estimate_counts_what_the_budget_allows() -> None:
    prepared = prepare(["a red star", "a star"], Options(pictures=5, samples=3))
    measured = measure_speed(prepared)
    assert 10 < measured.text_tokens < 100 and 0 < measured.seconds < 1
    speed = DecodeSpeed(30, 0.5)
    cost = estimate(prepared, 2, speed)
    assert cost == Estimate(4, 20, 20 * (64 + 30), 20 * 94 * 0.5)
    assert cost + cost == Estimate(8, 40, 40 * 94, 40 * 94 * 0.5)
    assert str(cost).startswith("4 samples to make, at most 20 pictures") and "16 min" in str(cost)
    plain = prepare(["a red star"], Options(method="plain"), model=prepared.model)
    assert estimate(plain, 0, speed).token_steps == 64
    assert estimate(plain, 1, speed).pictures == 0


@pytest.mark.parametrize(("seconds", "said"), [(8, "8 s"), (600, "10 min"), (7200, "2.0 h")])
def test_durations(seconds: float, said: str) -> None:
    assert format_duration(seconds) == said
