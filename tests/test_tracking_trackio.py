"""What trackio's own reader finds of a run: everything once, below the run's folder, and nothing sent anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from milr.runs.events import RunFinished, RunStarted, SearchFinished, SearchFound
from milr.runs.store import RunStore, name_of
from milr.types import Prompt
from milr.workflows.tracking import make_tracker
from outcomes import config, outcome

pytest.importorskip("trackio", reason="milr[trackio] is not installed: its releases want Pillow below 13")
PROMPTS = [Prompt("a red star"), Prompt("a blue circle")]
READ = """
import json, sys
from trackio import Api
from trackio.sqlite_storage import SQLiteStorage
runs = {
    run.name: [SQLiteStorage.get_logs(run.project, run.name, run_id=run.id),
               SQLiteStorage.get_traces(run.project, run.name, run_id=run.id)]
    for run in Api().runs(sys.argv[1])
}
assert len(runs) == len(Api().runs(sys.argv[1]))
print(json.dumps(runs, default=str))
"""


def read(run: Path) -> dict[str, list[Any]]:
    """The logs of every trackio run, read by trackio in a process of its own."""
    environment = {**os.environ, "TRACKIO_DIR": str(run / "track" / "trackio")}
    done = subprocess.run([sys.executable, "-c", READ, run.name], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    logs: dict[str, list[Any]] = json.loads(done.stdout.splitlines()[-1])
    return logs


@pytest.mark.long
def test_a_run_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_SPACE_ID", "somebody/else")  # must not be sent anything
    run = tmp_path / "run"
    made = [outcome(prompt, (0.25, None, 0.75)) for prompt in PROMPTS]
    with RunStore(run).open(config(), PROMPTS) as store:
        for each in made:
            store.write(each)
    tracker = make_tracker("trackio")
    for event in (RunStarted(config(), 2, run), SearchFinished(made[0], 1, 2), RunFinished(1, 2, run)):
        tracker(event)
    first = read(run)
    assert list(first) == [name_of(PROMPTS[0], 0)]
    found = [SearchFound(prompt, 0, number, 2) for number, prompt in enumerate(PROMPTS, 1)]
    (run / "track" / "trackio" / "complete" / name_of(PROMPTS[0], 0)).unlink()  # as if it had been killed just before
    for event in (RunStarted(config(), 2, run), *found, RunFinished(2, 2, run)):
        tracker(event)
    logs = read(run)
    assert set(logs) == {name_of(prompt, 0) for prompt in PROMPTS}
    for steps, (trace,) in logs.values():
        assert [step.get("score") for step in steps] == [0.25, None, 0.75]
        assert [step["cost/token_steps"] for step in steps] == [10, 20, 30]
        assert steps[0]["first"]["_type"] == steps[2]["returned"]["_type"] == "trackio.image"
        assert "| 2 (returned) | 0.75 |" in json.dumps(trace) and "step 2" in json.dumps(trace)
