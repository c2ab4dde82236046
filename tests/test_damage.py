"""Damaged records and pictures are noticed, named and made again; nothing outside the folder is touched."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import recorded_runs
from milr import catalog
from milr.report.compare.comparison import compare_runs
from milr.report.csv_cells import harmless
from milr.report.html import write_report
from milr.runs.config import prompts_digest
from milr.runs.store import RunStore, name_of
from milr.types import Prompt, UsageError
from milr.workflows.stored import load_run
from outcomes import GREEN, RED, config, outcome

PROMPTS = [RED, GREEN]
CONFIG = config(prompts_digest=prompts_digest(PROMPTS))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with RunStore(tmp_path / "run").open(CONFIG, PROMPTS) as store:
        for prompt in PROMPTS:
            store.write(outcome(prompt))
    return tmp_path / "run"


def record_path(run: Path, prompt: Prompt = RED) -> Path:
    return run / "records" / f"{name_of(prompt, 0)}.json"


def picture_path(run: Path, prompt: Prompt = RED) -> Path:
    return run / "images" / name_of(prompt, 0) / "001.png"


def flip(path: Path, at: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 1
    path.write_bytes(content)


def sign(path: Path, change: Callable[[dict], object]) -> None:
    """Change a record and give it the checksum that fits, as someone hostile would."""
    content = json.loads(path.read_text())
    change(content)
    del content["checksum"]
    rest = json.dumps(content)[1:].encode()
    path.write_bytes(b'{\n "checksum": "%s",' % hashlib.sha256(rest).hexdigest().encode() + rest)


@pytest.mark.parametrize("at", [0.01, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("path_of", [record_path, picture_path])
def test_a_flipped_bit_is_noticed_named_and_made_again(run, at, path_of, milr) -> None:
    path = path_of(run)
    whole = path.read_bytes()
    flip(path, at)
    store = RunStore(run)
    assert not store.finished(RED, 0) and store.finished(GREEN, 0)
    (damage,) = store.read().damage
    assert str(run / damage.path) == str(path) and len(load_run(run).outcomes) == 1
    assert damage.path in write_report(run).read_text()
    if path_of is record_path:
        with pytest.raises(UsageError, match="lacks 1 of 2 samples.*damaged"):
            compare_runs([run])
    assert any(damage.path in note for note in compare_runs([run], partial=True).notes)
    code, printed, _ = milr("doctor", run)
    assert code == 3 and damage.path in printed and "1 of 2 samples are complete" in printed
    with RunStore(run).open(CONFIG, PROMPTS) as again:
        again.write(outcome(RED))
    assert path.read_bytes() == whole and milr("doctor", run)[0] == 0


COMMANDS = {"report": ("report", "run"), "export": ("export", "run", "--layout", "t2i-compbench", "--to", "pictures"),
            "compare": ("compare", "run", "--partial")}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_the_terminal_says_once_how_many_files_are_damaged(run, command, milr) -> None:
    code, printed, errors = milr(*command)
    assert code == 0 and not errors
    flip(record_path(run))
    flip(picture_path(run, GREEN))
    code, whole, errors = milr(*command[:-1], "other") if command[0] == "export" else milr(*command)
    assert code == 0 and errors.count("\n") == 1 and errors.startswith("warning  2 damaged files in run: ")
    assert "milr doctor run names them" in errors and "the command that made the run makes them again" in errors
    assert "warning" not in whole


def test_many_runs_with_damage_have_one_warning(capsys) -> None:
    from milr.cli.console import print_damage

    print_damage({Path(f"\x1b[31mrun{number}"): number for number in range(6)})
    errors = capsys.readouterr().err
    assert errors.startswith("warning  15 damaged files in run1, run2, run3 and 2 more: ") and errors.count("\n") == 1
    print_damage({Path("a"): 0})
    assert capsys.readouterr().err == ""


HOSTILE = {
    "a path outside": lambda content: content["steps"][1].update(picture="../../secret.png"),
    "an absolute path": lambda content: content["steps"][1].update(picture="/etc/passwd"),
    "a NUL in a path": lambda content: content["steps"][1].update(picture="images/\0/001.png"),
    "a judgement of 2": lambda content: content["steps"][1].update(judged={"score": 2.0}),
    "a judgement that is no number": lambda content: content["steps"][1].update(judged={"score": "NaN"}),
    "a score of -1": lambda content: content["steps"][1].update(score=-1),
    "a count of 10^400": lambda content: content["cost"].update(pictures=10**400),
    "tokens changed 10^400": lambda content: content["steps"][1]["info"]["text"].update(tokens_changed=10**400),
    "endless seconds": lambda content: content["cost"].update(model_seconds="Infinity"),
    "another sample": lambda content: content.update(sample=5),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_record_with_a_fitting_checksum_is_damaged(run, change) -> None:
    sign(record_path(run), lambda content: None)
    assert RunStore(run).finished(RED, 0), "the checksum is taken"
    sign(record_path(run), change)
    (damage,) = RunStore(run).read().damage
    assert "is damaged" in damage.reason and not RunStore(run).finished(RED, 0)
    write_report(run)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff\xfe", b"{}", b"null", b'{"version": ' + b"9" * 5000 + b"}"])
def test_a_record_of_anything_is_damaged(run, content) -> None:
    record_path(run).write_bytes(content)
    assert len(RunStore(run).read().damage) == 1 and not RunStore(run).finished(RED, 0)


def test_links_and_pipes_are_not_followed(run, tmp_path) -> None:
    outside = tmp_path / "outside"
    picture_path(run).parent.rename(outside)
    picture_path(run).parent.symlink_to(outside)
    before = {path.name: path.read_bytes() for path in outside.iterdir()}
    record_path(run, GREEN).unlink()
    os.mkfifo(record_path(run, GREEN))
    assert len(RunStore(run).read().damage) == 2 and not RunStore(run).finished(RED, 0)
    with RunStore(run).open(CONFIG, PROMPTS) as store:
        store.write(outcome(RED, (0.1,)))
        assert store.finished(RED, 0)
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == before


@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"[1]", b'{"text": 1}', b'{"text": "half"}\n', b"[" * 100_000])
def test_damaged_prompts_are_said_and_written_again(run, content) -> None:
    path = run / "prompts.jsonl"
    whole = path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"prompts\.jsonl is damaged"):
        write_report(run)
    RunStore(run).open(CONFIG, PROMPTS).close()
    assert path.read_bytes() == whole


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"{")])
def test_run_json_is_written_again_where_the_records_are_of_this_run(run, harm) -> None:
    harm(run / "run.json")
    with pytest.raises(UsageError, match="other settings"):
        RunStore(run).open(config(seed=8), PROMPTS)
    with RunStore(run).open(CONFIG, PROMPTS) as store:
        assert store.finished(RED, 0) and store.run().config == CONFIG


def test_pictures_are_synced_before_their_record(tmp_path, monkeypatch) -> None:
    events: list[str] = []
    replace, sync = os.replace, os.fsync

    def note_and_sync(handle: int) -> None:
        events.append(f"sync {Path(os.readlink(f'/proc/self/fd/{handle}')).name}")
        sync(handle)

    monkeypatch.setattr(os, "fsync", note_and_sync)
    with RunStore(tmp_path / "run").open(CONFIG, PROMPTS) as store:
        events.clear()
        monkeypatch.setattr(os, "replace", lambda one, other: events.append(f"name {Path(other).name}")
                            or replace(one, other))  # fmt: skip
        store.write(outcome(RED))
    name = name_of(RED, 0)
    kept = [event if event.startswith("name") or "partial" not in event else "sync file" for event in events]
    assert kept == ["sync images", "sync file", "name 000.png", "sync file", "name 001.png", f"sync {name}",
                    "sync file", f"name {name}.json", "sync records"]  # fmt: skip


def test_the_same_tokens_give_the_same_bytes_in_any_batch() -> None:
    import torch

    model = catalog.make_model("nano")
    runs = json.loads(recorded_runs.FILE.read_text())["redraw_sampled"]
    rows = [[int(token) for token in step["image"].split()] for each in runs for step in each["steps"]]
    alone = [picture.tobytes() for row in rows for picture in model.render([row])]
    assert [picture.tobytes() for picture in model.render(rows)] == alone
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert [picture.tobytes() for picture in model.render(rows)] == alone
    finally:
        torch.set_num_threads(threads)


def test_a_picture_of_too_many_pixels_is_refused(run, monkeypatch) -> None:
    monkeypatch.setattr("milr.runs.record_files.MAX_PIXELS", 10)
    with pytest.raises(UsageError, match="more than 10 pixels"):
        load_run(run).outcomes[0].picture  # noqa: B018


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t=", "\r", "  ="])
def test_no_cell_is_a_formula(sign) -> None:
    assert harmless(f"{sign}1+1") == f"'{sign}1+1" and harmless(-1.5) == -1.5 and harmless("a = b") == "a = b"


def test_a_picture_comes_back_from_disk(run) -> None:
    assert isinstance(load_run(run).outcomes[0].picture, Image.Image)
