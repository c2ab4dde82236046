"""`milr doctor RUN --repair`: what is damaged is set aside, what is intact stays, and twice is as once."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from milr.report.html import write_report
from milr.runs import files, record_files, unfinished
from milr.runs.config import prompts_digest
from milr.runs.store import RunStore, name_of
from milr.runs.unfinished import AnsweredRequest, UnfinishedSearch
from milr.types import Score, UsageError
from milr.workflows.repair_run import DERIVED, repair_run
from outcomes import GREEN, RED, config, outcome
from test_damage import CONFIG, PROMPTS, flip, picture_path, record_path, sign

NO_PROCESS = 2**22 + 1  # above Linux's largest number of a process
RED_NAME, GREEN_NAME = name_of(RED, 0), name_of(GREEN, 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of two finished samples with its report."""
    with RunStore(tmp_path / "run").open(CONFIG, PROMPTS) as store:
        for prompt in PROMPTS:
            store.write(outcome(prompt))
    write_report(tmp_path / "run")
    return tmp_path / "run"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_there_is_nothing_to_mend_in_a_whole_run(folder: Path, milr) -> None:
    before = contents(folder)
    code, printed, _ = milr("doctor", folder, "--repair")
    assert code == 0 and "nothing to mend\n2 of 2 samples are complete" in printed and contents(folder) == before


HARMS = [(record_path, flip), (record_path, lambda path: os.truncate(path, 40)), (picture_path, flip),
         (picture_path, lambda path: os.truncate(path, 40)), (picture_path, Path.unlink)]  # fmt: skip


@pytest.mark.parametrize(("path_of", "harm"), HARMS)
def test_a_damaged_sample_is_set_aside_whole_and_made_again(folder: Path, path_of, harm, milr) -> None:
    whole = contents(folder)
    harm(path_of(folder))
    harmed = contents(folder)
    code, printed, _ = milr("doctor", folder, "--repair")
    after = contents(folder)
    assert code == 0 and f"{path_of(folder).relative_to(folder)} " in printed and "moved to damaged" in printed
    assert "1 of 2 samples are complete\nThe command that made this run makes the samples that it lacks" in printed
    for name, content in harmed.items():
        if RED_NAME in name:
            assert name not in after and after[f"damaged/{name}"] == content, "moved, and nothing of it lost"
        elif name not in DERIVED:
            assert after[name] == content, "what is intact stays"
    assert after["table.csv"].count(b"\n") == 2 and json.loads(after["report.json"])["samples"] == 1
    assert "nothing to mend" in milr("doctor", folder, "--repair")[1] and contents(folder) == after
    with RunStore(folder).open(CONFIG, PROMPTS) as store:
        assert not store.finished(RED, 0) and store.finished(GREEN, 0)
        store.write(outcome(RED))
    write_report(folder)
    assert whole.items() <= contents(folder).items()


def test_what_is_set_aside_twice_is_kept_twice(folder: Path) -> None:
    for name in ("damaged", "damaged-2"):
        with RunStore(folder).open(CONFIG, PROMPTS) as store:
            store.write(outcome(RED))
        flip(record_path(folder))
        repair_run(folder)
        assert (folder / name / "records" / f"{RED_NAME}.json").exists()


def test_leftovers_of_killed_processes_are_removed_and_nothing_else(folder: Path) -> None:
    kept = folder / "records" / ".notes.partial"
    kept.write_text("somebody's own")
    for where in ("", "records/", f"images/{RED_NAME}/", "judgements/x/"):
        (folder / where).mkdir(exist_ok=True, parents=True)
        (folder / where / f".run.json.{NO_PROCESS}-456.partial").write_text("half")
    report = folder / f".report.html.{os.getpid()}-1.partial"  # a process writes it now
    report.write_text("half")
    inside = folder / "another run" / f".run.json.{NO_PROCESS}-1.partial"  # has a lock of its own
    inside.parent.mkdir()
    inside.write_text("half")
    repaired = repair_run(folder)
    assert len(repaired.mended) == 4 and not list(folder.rglob("*456.partial"))
    assert kept.exists() and report.exists() and inside.exists()
    assert repair_run(folder).mended == ()


@pytest.mark.parametrize("what", ["record", "picture", "answers"])
def test_what_cannot_be_read_now_stays_where_it_is(folder: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    search = UnfinishedSearch(folder / "unfinished" / "some-search")
    search.add(AnsweredRequest("score", "same", Score(0.5)))
    search.save()
    bad = {"record": record_path(folder), "picture": picture_path(folder),
           "answers": next((folder / "unfinished" / "some-search").iterdir())}[what]  # fmt: skip

    def read_bounded(path: Path | str, limit: int) -> bytes:
        if Path(path) == bad:
            raise OSError(errno.EIO, "Input/output error")
        return files.read_bounded(path, limit)

    before = contents(folder)
    for module in (record_files, unfinished):
        monkeypatch.setattr(module, "read_bounded", read_bounded)
    repaired = repair_run(folder)
    kept = contents(folder)
    assert {name: content for name, content in before.items() if name not in DERIVED}.items() <= kept.items()
    assert not (folder / "damaged").exists()
    assert what == "answers" or any("Input/output error" in left for left in repaired.left)


def test_searches_that_have_ended_and_damaged_answers_are_dropped(folder: Path) -> None:
    record_path(folder, GREEN).unlink()
    for name in (RED_NAME, GREEN_NAME):
        search = UnfinishedSearch(folder / "unfinished" / name)
        for value in (0.25, 0.5, 0.75):
            search.add(AnsweredRequest("score", "same", Score(value)))
            search.save()
    first, second, third = sorted((folder / "unfinished" / GREEN_NAME).iterdir())
    flip(second)
    repaired = repair_run(folder)
    assert not (folder / "unfinished" / RED_NAME).exists() and first.exists() and third.exists()
    assert not second.exists() and len([line for line in repaired.mended if "unfinished" in line]) == 2
    again = UnfinishedSearch(folder / "unfinished" / GREEN_NAME)
    again.add(AnsweredRequest("score", "same", Score(1.0)))
    again.save()
    names = sorted(path.name[:3] for path in first.parent.iterdir())
    assert names == ["000", "002", "003"], "the new answers come after the old ones"
    resumed = UnfinishedSearch(folder / "unfinished" / GREEN_NAME)
    taken = [resumed.take("score", "same") for _ in range(4)]
    assert [each.result.value for each in taken if each] == [0.25, 0.75, 1.0]


def test_reports_that_do_not_fit_the_records_are_written_anew(folder: Path) -> None:
    whole = contents(folder)
    (folder / "report.json").write_bytes(b"{")
    (folder / "table.csv").unlink()
    mended = repair_run(folder).mended
    assert [line.split()[0] for line in mended] == ["report.json", "table.csv"] and contents(folder) == whole


def test_prompts_are_written_again_where_the_records_hold_them_all(folder: Path, tmp_path: Path) -> None:
    in_order_of_records = [record.prompt for record in RunStore(folder).records()]
    with RunStore(tmp_path / "other").open(config(prompts_digest=prompts_digest(in_order_of_records)),
                                           in_order_of_records) as store:  # fmt: skip
        for prompt in PROMPTS:
            store.write(outcome(prompt))
    for run in (folder, tmp_path / "other"):
        (run / "prompts.jsonl").rename(run / "whole")
        (run / "prompts.jsonl").write_bytes(b"half")
    repaired, other = repair_run(folder), repair_run(tmp_path / "other")
    assert other.left == () and "prompts.jsonl is damaged: written again" in other.mended[0]
    assert (tmp_path / "other/prompts.jsonl").read_bytes() == (tmp_path / "other/whole").read_bytes()
    assert (tmp_path / "other/damaged/prompts.jsonl").read_bytes() == b"half"
    assert repaired.mended == () and "the command that made the run writes it again" in repaired.left[0]
    assert (folder / "prompts.jsonl").read_bytes() == b"half"


def test_what_cannot_be_mended_is_said(folder: Path, milr) -> None:
    (folder / "run.json").write_bytes(b"{")
    before = contents(folder)
    code, printed, _ = milr("doctor", folder, "--repair")
    assert code == 3 and "left     run.json is damaged or gone: the command that made the run writes it" in printed
    assert contents(folder) == before
    sign(record_path(folder), lambda content: content.update(version=2))
    repaired = repair_run(folder)
    assert any("another version" in line for line in repaired.left) and record_path(folder).exists()


def test_a_run_that_is_being_written_is_not_repaired(folder: Path, milr) -> None:
    flip(record_path(folder))
    before = contents(folder)
    with RunStore(folder).open(CONFIG, PROMPTS):
        code, _, error = milr("doctor", folder, "--repair")
        assert code == 2 and "being written by another process" in error and contents(folder) == before
    assert milr("doctor", folder, "--repair")[0] == 0


def test_only_runs_are_repaired(tmp_path: Path, milr) -> None:
    (tmp_path / "mine").mkdir()
    assert milr("doctor", tmp_path / "mine", "--repair")[0] == 2 and not list((tmp_path / "mine").iterdir())
    code, _, error = milr("doctor", "--repair")
    assert code == 2 and "name its folder" in error


def test_nothing_outside_the_folder_is_moved(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    picture_path(folder).parent.rename(outside)
    picture_path(folder).parent.symlink_to(outside)
    (outside / ".x.1-2.partial").write_text("another's")
    sign(record_path(folder, GREEN), lambda content: content["steps"][0].update(picture="../../outside/000.png"))
    for name in ("..json", "...json"):  # whose stems are "." and ".."
        (folder / "records" / name).write_text("{}")
    before = contents(outside)
    repaired = repair_run(folder)
    assert len(repaired.mended) >= 4 and repaired.checked.complete == 0 and contents(outside) == before
    assert (folder / "images").is_dir() and (folder / "damaged" / "images" / RED_NAME).is_symlink()
    assert repair_run(folder).mended == ()
    (folder / "images").rename(tmp_path / "pictures")
    (folder / "images").symlink_to(tmp_path / "pictures")
    with pytest.raises(UsageError, match="images is a link"):
        repair_run(folder)


def test_a_disk_that_is_full_is_said_and_leaves_the_sample(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    flip(record_path(folder))
    digest = hashlib.sha256(record_path(folder).read_bytes()).hexdigest()
    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(UsageError, match="cannot be repaired .No space left"):
        repair_run(folder)
    assert hashlib.sha256(record_path(folder).read_bytes()).hexdigest() == digest
