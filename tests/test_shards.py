"""A run in parts: the parts together are the run, whatever wrote them where, and nothing else can be joined."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from milr.inputs.shard import Shard
from milr.options import Options
from milr.runs.config import prompts_digest
from milr.runs.record_files import encode_record
from milr.runs.runner import jobs_of
from milr.runs.same_records import first_difference
from milr.runs.store import Record, RunStore, SharedPart, name_of
from milr.types import Prompt, UsageError
from milr.workflows.merge import merge_runs
from outcomes import GREEN, RED, config, outcome

PROMPTS = ["a photo of two green squares", "a photo of three red hearts", "a photo of a blue circle"]
Call = Callable[..., tuple[int, str, str]]


# Which samples are a part


@pytest.mark.parametrize("count", [1, 2, 3, 7, 12])
def test_the_parts_are_the_whole_each_sample_once(count: int) -> None:
    prompts = [Prompt(f"a {word}") for word in ("star", "heart", "square", "circle")]
    whole = jobs_of(prompts, 3)
    parts = [jobs_of(prompts, 3, f"{index}/{count}") for index in range(1, count + 1)]
    assert sorted(name_of(job.prompt, job.sample) for part in parts for job in part) == sorted(
        name_of(job.prompt, job.sample) for job in whole
    )
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["", "2", "0/2", "3/2", "-1/2", "1/0", "a/b", "1/2/3", "1/99999999", "१/२"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="a shard is i/n"):
        Options(shard=text)


def test_a_shard_is_written_as_it_is_read() -> None:
    assert str(Shard.parse(" 2/4 ")) == "2/4" and Shard.parse("2/4") == Shard(2, 4)


# Parts in one folder


def test_two_parts_write_one_folder_at_the_same_time_and_nobody_else_does(tmp_path: Path) -> None:
    parts = [RunStore(tmp_path, part=SharedPart(f"{i}-of-2", frozenset())) for i in (1, 2)]
    with parts[0].open(config(), [RED, GREEN]), parts[1].open(config(), [RED, GREEN]):
        for store in (RunStore(tmp_path), RunStore(tmp_path, part=SharedPart("2-of-2", frozenset()))):
            with pytest.raises(UsageError, match="being written by another process"):
                store.open(config())
        parts[0].write(outcome(RED))
        parts[1].write(outcome(GREEN))
    with RunStore(tmp_path).open(config()) as store:
        assert len(store.records()) == 2
        with pytest.raises(UsageError, match="being written by another process"):
            parts[0].open(config())


def test_a_part_leaves_the_files_of_others_at_work_alone(tmp_path: Path) -> None:
    own, other = name_of(RED, 0), name_of(GREEN, 0)
    RunStore(tmp_path).open(config()).close()
    temporaries = {name: tmp_path / "records" / f".{name}.json.1-1.partial" for name in (own, other)}
    for path in temporaries.values():
        path.touch()
    RunStore(tmp_path, part=SharedPart("1-of-2", frozenset({own}))).open(config()).close()
    assert not temporaries[own].exists() and temporaries[other].exists()


# Joining


def part(folder: Path, *outcomes: Any, **changes: Any) -> Path:
    """A run's folder with these outcomes."""
    with RunStore(folder).open(config(prompts_digest=prompts_digest([RED, GREEN]), **changes), [RED, GREEN]) as store:
        for each in outcomes:
            store.write(each)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    """Records and pictures by their paths."""
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for kind in ("records", "images") for path in (folder / kind).rglob("*") if path.is_file()}  # fmt: skip


def test_parts_are_joined_byte_for_byte(tmp_path: Path) -> None:
    whole = part(tmp_path / "whole", outcome(RED), outcome(GREEN))
    parts = [part(tmp_path / "a", outcome(RED)), part(tmp_path / "b", outcome(GREEN), outcome(RED))]
    merged = merge_runs(tmp_path / "out", parts)
    assert (merged.copied, merged.existing, merged.finished, merged.samples) == (2, 1, 2, 2)
    assert files_of(tmp_path / "out") == files_of(whole)
    assert RunStore(tmp_path / "out").prompts() == [RED, GREEN]
    assert RunStore(tmp_path / "out").run().sittings == RunStore(parts[0]).run().sittings
    again = merge_runs(tmp_path / "out", parts)
    assert (again.copied, again.existing) == (0, 3) and files_of(tmp_path / "out") == files_of(whole)


def test_a_part_of_another_run_is_refused(tmp_path: Path) -> None:
    parts = [part(tmp_path / "a", outcome(RED)), part(tmp_path / "b", outcome(GREEN), seed=8)]
    with pytest.raises(UsageError, match=r"b holds another run than .*a \(seed: 7 there, 8 here\): only parts of one"):
        merge_runs(tmp_path / "out", parts)
    assert not (tmp_path / "out").exists()
    other = part(tmp_path / "out", outcome(RED), seed=9)
    with pytest.raises(UsageError, match="holds a run with other settings"):
        merge_runs(other, parts[:1])


def test_another_result_for_the_same_sample_is_an_error_that_names_it(tmp_path: Path) -> None:
    parts = [part(tmp_path / "a", outcome(RED)), part(tmp_path / "b", outcome(RED, (0.25, 0.5)))]
    with pytest.raises(UsageError, match=r"another result for .*red-star.*step 1: score 0.75 and 0.5"):
        merge_runs(tmp_path / "out", parts)


def test_a_judged_sample_stands_in_for_one_that_no_judge_scored(tmp_path: Path) -> None:
    failed = outcome(RED, (0.25, None), stop="judge_failed")
    parts = [part(tmp_path / "a", failed), part(tmp_path / "b", outcome(RED))]
    for order in (parts, parts[::-1]):
        out = tmp_path / f"out-{order[0].name}"
        merge_runs(out, order)
        assert RunStore(out).records()[0].stop == "steps"


@pytest.mark.parametrize("kind", ["records", "images"])
def test_a_damaged_part_is_refused(tmp_path: Path, kind: str) -> None:
    damaged = part(tmp_path / "a", outcome(RED))
    path = next(path for path in (damaged / kind).rglob("*") if path.is_file())
    path.write_bytes(path.read_bytes()[:-40] + b" " * 40)
    with pytest.raises(UsageError, match="red-star.* damaged"):
        merge_runs(tmp_path / "out", [damaged])


def test_a_part_is_not_joined_into_itself(tmp_path: Path) -> None:
    folder = part(tmp_path / "a", outcome(RED))
    with pytest.raises(UsageError, match="is one of the parts"):
        merge_runs(folder, [folder])


# On the command line


def masked(folder: Path) -> dict[str, bytes]:
    """The bytes of records and pictures; in a record the seconds, and the checksum over them, are zero."""
    return {path: zero_seconds(content) if path.endswith(".json") else content
            for path, content in files_of(folder).items()}  # fmt: skip


def zero_seconds(content: bytes) -> bytes:
    def zero(value: Any) -> Any:
        if isinstance(value, list):
            return [zero(each) for each in value]
        if isinstance(value, dict):
            return {name: 0.0 if name.endswith("_seconds") else zero(each) for name, each in value.items()}
        return value

    return encode_record(Record.model_validate(zero(json.loads(content))))


OPTIONS = ("--prompts", "p.txt", "--samples", "2", "--steps", "2", "--in-flight", "1", "--method", "redraw_sampled")


def test_shards_and_a_merge_are_the_run(milr: Call, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("\n".join(PROMPTS))
    assert milr("generate", *OPTIONS, "--out", "whole")[0] == 0
    for index in (1, 2):
        code, printed, _ = milr("generate", *OPTIONS, "--shard", f"{index}/2", "--out", f"part-{index}")
        assert code == 0 and f"shard    {index}/2 is finished; part-{index} has 3 of 6 samples" in printed
    code, printed, _ = milr("merge", "merged", "part-1", "part-2")
    assert code == 0 and "merged   6 samples; merged has 6 of 6" in printed
    assert masked(tmp_path / "merged") == masked(tmp_path / "whole")
    code, printed, _ = milr("generate", *OPTIONS, "--out", "merged")
    assert code == 0 and "this run is finished" in printed  # the merged run is the run


def test_shards_of_a_benchmark_fill_one_folder(milr: Call, tmp_path: Path) -> None:
    command = ("bench", "shapes", "--limit", "4", "--steps", "1", "--method", "redraw_sampled", "--out", "run")
    code, printed, _ = milr(*command, "--shard", "1/2")
    assert code == 0 and "run has 2 of 4 samples" in printed and "page" not in printed
    code, printed, _ = milr(*command, "--shard", "2/2")
    assert code == 0 and "run has 4 of 4 samples" in printed and "page     run/compare.html" in printed
    code, printed, _ = milr(*command)
    assert code == 0 and "this run is finished" in printed


def test_a_shard_without_samples_is_no_failure(milr: Call) -> None:
    code, printed, error = milr("generate", "a photo of a blue circle", "--shard", "2/2", "--out", "run")
    assert code == 0 and "run has 0 of 1 samples" in printed, error


def test_processes_that_start_together_divide_one_folder(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("\n".join(PROMPTS))
    command = [sys.executable, "-m", "milr.cli", "generate", *OPTIONS, "--out", "run", "--shard"]
    workers = [subprocess.Popen([*command, f"{index}/2"], cwd=tmp_path, env=os.environ, stdout=subprocess.DEVNULL)
               for index in (1, 2)]  # fmt: skip
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    assert len(RunStore(tmp_path / "run").records()) == 6


def test_a_difference_is_named_and_seconds_are_none(tmp_path: Path) -> None:
    part(tmp_path, outcome(RED))
    (record,) = RunStore(tmp_path).records()
    slower = record.model_copy(update={"cost": record.cost + record.cost})
    assert first_difference(record, slower) == ""
    steps = (record.steps[0], record.steps[1].model_copy(update={"image_ids": (9, 7, 1)}))
    assert first_difference(record, record.model_copy(update={"steps": steps})) == "step 1: image token 1 is 8 and 7"
    assert first_difference(record, record.model_copy(update={"stop": "budget"})) == "stop 'steps' and 'budget'"
    shorter = record.model_copy(update={"steps": record.steps[:1], "best": 0, "returned": 0})
    assert first_difference(record, shorter) == "2 pictures and 1"
