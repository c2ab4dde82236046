"""What TensorBoard's own reader finds of a run: everything once, below the run's folder, and no made-up zero."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import milr
from milr.cli.app import app
from milr.runs.events import (
    Event,
    Listeners,
    RunFinished,
    RunStarted,
    SearchFailed,
    SearchFinished,
    SearchFound,
    SearchStarted,
    StepFinished,
)
from milr.runs.store import RunStore, name_of
from milr.types import Cost, MilrWarning, MissingError, Outcome, Prompt, Score, UsageError
from milr.workflows import tracking
from milr.workflows.track_contents import describe_search
from milr.workflows.tracking import make_tracker, tell_of_finished
from outcomes import config, outcome

pytest.importorskip("tensorboardX", reason="milr[track] is not installed")
event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator",
                                        reason="TensorBoard, the reader, is not installed")  # fmt: skip
PROMPT = Prompt("a red star")


def read(folder: Path) -> Any:
    """A folder of event files, read by TensorBoard."""
    accumulator = event_accumulator.EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def points(folder: Path, name: str) -> list[tuple[int, float]]:
    return [(point.step, round(point.value, 4)) for point in read(folder).Scalars(name)]


def text(folder: Path, name: str) -> str:
    (event,) = read(folder).Tensors(f"{name}/text_summary")
    return event.tensor_proto.string_val[0].decode()


def events_of(made: Outcome) -> list[Event]:
    """What a listener hears of one search."""
    prompt, sample, spent = made.prompt, made.key.sample, Cost()
    events: list[Event] = [SearchStarted(prompt, sample, 0, 1)]
    for step in made.steps:
        spent += step.cost
        events.append(StepFinished(prompt, made.key, step, spent))
    return [*events, SearchFinished(made, 1, 1)]


def track(folder: Path, *events: Event) -> Path:
    """A tracker hears a run, whose folder in TensorBoard comes back."""
    tracker = make_tracker("tensorboard")
    for event in (RunStarted(config(), 1, folder), *events, RunFinished(1, 1, folder)):
        tracker(event)
    return folder / "track" / "tensorboard"


def searched(values: tuple[float | None, ...] = (0.25, None, 0.75, 0.5)) -> Outcome:
    made = outcome(PROMPT, values)
    steps = tuple(dataclasses.replace(step, cost=Cost(1, 10, 1, 0.5, 0.25)) for step in made.steps)
    return dataclasses.replace(made, steps=steps, judged={0: Score(0.0), 2: Score(1.0)})


def test_scores_and_costs_by_step(tmp_path: Path) -> None:
    made = searched()
    folder = track(tmp_path, *events_of(made)) / name_of(PROMPT, 0)
    assert points(folder, "score") == [(0, 0.25), (2, 0.75), (3, 0.5)]  # unscored is no point
    assert points(folder, "score/best_so_far") == [(0, 0.25), (2, 0.75), (3, 0.75)]
    assert points(folder, "cost/token_steps") == [(0, 10), (1, 20), (2, 30), (3, 40)]
    assert points(folder, "cost/seconds") == [(0, 0.75), (1, 1.5), (2, 2.25), (3, 3.0)]
    assert points(folder, "judged") == [(0, 0.0), (2, 1.0)]


def test_the_first_and_the_returned_picture(tmp_path: Path) -> None:
    import io

    from PIL import Image

    made = searched()
    folder = track(tmp_path, *events_of(made)) / name_of(PROMPT, 0)
    for name, index in (("first", 0), ("returned", made.returned)):
        (shown,) = read(folder).Images(name)
        picture = Image.open(io.BytesIO(shown.encoded_image_string)).convert("RGB")
        assert shown.step == index
        assert picture.tobytes() == made.steps[index].rollout.picture.convert("RGB").tobytes()


def test_the_steps_as_a_table_to_read(tmp_path: Path) -> None:
    made = searched()
    folder = track(tmp_path, *events_of(made))
    table = text(folder / name_of(PROMPT, 0), "search")
    assert table == describe_search(made)
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(made.steps) and "(returned)" in rows[1 + made.returned] and "unscored" in rows[2]
    assert "| reward | " in text(folder / "run", "run")


def test_a_prompt_of_markdown_and_html_is_text() -> None:
    made = dataclasses.replace(searched(), prompt=Prompt("a | <b>star</b>\n# here"))
    assert "a \\| &lt;b&gt;star&lt;/b&gt; # here" in describe_search(made)


def test_a_search_that_goes_on_writes_nothing_twice(tmp_path: Path) -> None:
    made = searched()
    folder = track(tmp_path, *events_of(made)[:3]) / name_of(PROMPT, 0)  # cut off after two steps
    assert points(folder, "score") == [(0, 0.25)] and not (folder / "complete").exists()
    track(tmp_path, *events_of(made))
    assert points(folder, "score") == [(0, 0.25), (2, 0.75), (3, 0.5)]
    assert len(read(folder).Images("first")) == 1


def test_a_finished_search_is_left_as_it_is_or_written_from_its_record(tmp_path: Path) -> None:
    made = searched()
    with RunStore(tmp_path).open(config(), [PROMPT]) as store:
        store.write(made)
    found = SearchFound(PROMPT, 0, 1, 1)
    folder = track(tmp_path, found) / name_of(PROMPT, 0)
    assert points(folder, "score") == [(0, 0.25), (2, 0.75), (3, 0.5)]
    assert points(folder, "cost/token_steps")[-1] == (3, 40)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    track(tmp_path, found)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    shutil.rmtree(folder)
    tell_of_finished(tmp_path, make_tracker("tensorboard"))
    assert points(folder, "score") == [(0, 0.25), (2, 0.75), (3, 0.5)]


def test_a_search_that_is_only_judged_again_has_all_its_steps(tmp_path: Path) -> None:
    made = searched()
    folder = track(tmp_path, SearchStarted(PROMPT, 0, 0, 1), SearchFinished(made, 1, 1)) / name_of(PROMPT, 0)
    assert points(folder, "score") == [(0, 0.25), (2, 0.75), (3, 0.5)]


def test_a_failed_search_is_closed_and_not_complete(tmp_path: Path) -> None:
    failed = SearchFailed(PROMPT, 0, UsageError("no"), 0, 1)
    folder = track(tmp_path, *events_of(searched())[:2], failed) / name_of(PROMPT, 0)
    assert points(folder, "score") == [(0, 0.25)] and not (folder / "complete").exists()


def test_a_run_without_a_folder_and_a_link_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name one with out"):
        make_tracker("tensorboard")(RunStarted(config(), 1, None))
    (tmp_path / "track").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="is a link"):
        make_tracker("tensorboard")(RunStarted(config(), 1, tmp_path))


def test_a_tracker_that_cannot_write_is_a_warning(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "track").write_text("no folder")
    settings: dict[str, Any] = {"reward": "self", "method": "plain", "device": "cpu",
                                "reasoning_prompt": "plan the picture : {prompt}"}  # fmt: skip
    with pytest.warns(MilrWarning, match="TensorBoardTracker failed"):
        milr.generate("a star", model=tiny_folder, out=tmp_path / "run", listener=make_tracker("tensorboard"),
                      **settings)  # fmt: skip
    assert len(RunStore(tmp_path / "run").records()) == 1


def test_an_unknown_tracker_and_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="tensorboard"):
        make_tracker("tensorbord")
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"pip install 'milr\[track\]'"):
        make_tracker("tensorboard")


def test_the_command_line_tracks_a_run_and_one_that_is_finished(tmp_path: Path) -> None:
    command = ["generate", "a red star", "--method", "plain", "--out", str(tmp_path / "run"), "--json"]
    assert CliRunner().invoke(app, command).exit_code == 0
    (record,) = RunStore(tmp_path / "run").records()
    for _ in range(2):  # the second writes nothing anew
        done = CliRunner().invoke(app, [*command, "--track", "tensorboard"])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)[0]["score"] == record.result.score
        folder = tmp_path / "run" / "track" / "tensorboard" / name_of(record.prompt, 0)
        assert points(folder, "score") == [(0, round(record.result.score or 0.0, 4))]
    again = [*command, "--seed", "1", "--out", str(tmp_path / "other"), "--track", "tensorboard"]
    assert CliRunner().invoke(app, again).exit_code == 0
    assert len(list((tmp_path / "other" / "track" / "tensorboard").glob("*/complete"))) == 2


def test_bench_and_experiment_track_every_run(tmp_path: Path) -> None:
    flags = ["--limit", "2", "--track", "tensorboard", "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(app, ["bench", "shapes", "--method", "plain", *flags])
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "run" / "track" / "tensorboard").glob("*/complete"))) == 3
    rows = '[rows.a]\nmethod = "plain"\n[rows.b]\nmethod = "redraw_greedy"\npictures = 1\n'
    (tmp_path / "plan.toml").write_text(f'title = "two"\nbenchmark = "shapes"\nlimit = 1\n{rows}')
    row = ["experiment", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "rows")]
    assert CliRunner().invoke(app, [*row, "--row", "a"]).exit_code == 0  # finished before it is tracked
    done = CliRunner().invoke(app, [*row, "--track", "tensorboard"])
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "rows").glob("*/seed-0/track/tensorboard/*/complete"))) == 4


def test_listeners_take_a_tracker(tmp_path: Path) -> None:
    heard: list[Event] = []
    listeners = Listeners(make_tracker("tensorboard"), heard.append)
    for event in (RunStarted(config(), 1, tmp_path), *events_of(searched())):
        listeners(event)
    assert len(heard) == 7 and not listeners.failures
