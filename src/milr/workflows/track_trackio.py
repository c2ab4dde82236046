"""The tracker for trackio: a project in `track/trackio` of the run's folder, with a trackio run for each search.

trackio keeps its folder for a whole process, prints, and sends to where its variables point. So a process of its own
writes, which knows the run's folder and no address: it is told the names of finished samples, and reads their records.
A sample that is written has a file in `complete`; one that is half written is deleted and written again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from milr.runs.events import Event, RunFinished, RunStarted, SearchFinished, SearchFound
from milr.runs.record_files import name_of, read_record
from milr.types import Cost, MilrError, Outcome
from milr.workflows.stored import load_run, restore
from milr.workflows.track_contents import describe_search, tracking_folder

COMPLETE = "complete"
PATIENCE = 300.0  # seconds for what is left to write at the end of a run


class TrackioTracker:
    """A listener for one run at a time."""

    def __init__(self) -> None:
        self._folder = Path()
        self._writer: subprocess.Popen[str] | None = None

    def __call__(self, event: Event) -> None:
        """Have a finished search written."""
        match event:
            case RunStarted():
                self._folder = tracking_folder(event, "trackio")
                self._writer = _start_writer(event.folder or Path(), self._folder)
            case SearchFound():
                self._write(name_of(event.prompt, event.sample))
            case SearchFinished(outcome=outcome):
                (self._folder / COMPLETE / name_of(outcome.prompt, outcome.key.sample)).unlink(missing_ok=True)
                self._write(name_of(outcome.prompt, outcome.key.sample))
            case RunFinished():
                self._end()

    def _write(self, name: str) -> None:
        if self._writer and self._writer.stdin and not (self._folder / COMPLETE / name).exists():
            self._writer.stdin.write(name + "\n")
            self._writer.stdin.flush()

    def _end(self) -> None:
        """Wait until everything is written; MilrError where it could not be."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            _, errors = writer.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            writer.kill()
            writer.communicate()
            raise MilrError("trackio was too slow; the same command writes what is missing.") from None
        if writer.returncode:
            last = errors.strip().splitlines()[-1:] or ["no reason given"]
            raise MilrError(f"trackio wrote nothing more ({last[0]}); the same command writes what is missing.")


def _start_writer(run: Path, folder: Path) -> subprocess.Popen[str]:
    (folder / COMPLETE).mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TRACKIO_", "HF_TOKEN"))}
    command = [sys.executable, "-m", __name__, str(run.resolve()), str(folder.resolve())]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                            text=True, start_new_session=True,
                            env={**kept, "TRACKIO_DIR": str(folder.resolve()), "HF_HUB_OFFLINE": "1"})  # fmt: skip


def write_samples(run: Path, folder: Path, names: Iterable[str]) -> None:
    """What the process does: write each sample as it is named."""
    import trackio

    config = load_run(run).config.model_dump(mode="json")
    for name in names:
        outcome = restore(read_record(run / "records" / f"{name}.json"), run)
        with suppress(ValueError):  # there is no such project yet
            for earlier in trackio.Api().runs(run.name):
                if earlier.name == name:
                    earlier.delete()
        writer = trackio.init(run.name, name=name, config=config, embed=False, auto_log_gpu=False, auto_log_cpu=False)
        for step, content in _contents(outcome).items():
            writer.log(content, step=step)
        writer.finish()
        (folder / COMPLETE / name).touch()


def _contents(outcome: Outcome) -> dict[int, dict[str, Any]]:
    """What is logged at each step of a search: numbers, pictures, and at the returned step the search as a trace."""
    import trackio

    contents: dict[int, dict[str, Any]] = {}
    spent, best = Cost(), -1.0
    for index, step in enumerate(outcome.steps):
        spent += step.cost
        content: dict[str, Any] = {f"score/parts/{name}": part for name, part in step.score.parts.items()}
        if step.score.value is not None:
            best = max(best, step.score.value)
            content |= {"score": step.score.value, "score/best_so_far": best}
        if index in outcome.judged and outcome.judged[index].value is not None:
            content["judged"] = outcome.judged[index].value
        contents[index] = content | {"cost/token_steps": spent.token_steps, "cost/reward_calls": spent.reward_calls,
                                     "cost/seconds": spent.model_seconds + spent.reward_seconds}  # fmt: skip
    contents[0]["first"] = trackio.Image(outcome.steps[0].rollout.picture, caption=outcome.prompt.text)
    contents[outcome.returned]["returned"] = trackio.Image(outcome.picture, caption=outcome.prompt.text)
    contents[outcome.returned]["search"] = _trace(outcome)
    return contents


def _trace(outcome: Outcome) -> Any:
    """The search as trackio's trace: the prompt, the steps as a table, and a span for each step."""
    import trackio

    spans = [{"id": str(index), "name": f"step {step.index}", "kind": "generation",
              "duration_ms": 1000 * (step.cost.model_seconds + step.cost.reward_seconds),
              "output": step.rollout.visualisation.text if step.rollout.visualisation else "",
              "metadata": {"score": step.score.value, "returned": index == outcome.returned}}
             for index, step in enumerate(outcome.steps)]  # fmt: skip
    messages = [{"role": "user", "content": outcome.prompt.text},
                {"role": "assistant", "content": describe_search(outcome)}]  # fmt: skip
    return trackio.Trace(messages, metadata={"stop": outcome.stop, "seed": outcome.key.seed}, spans=spans)


if __name__ == "__main__":
    write_samples(Path(sys.argv[1]), Path(sys.argv[2]), (line.strip() for line in sys.stdin))
