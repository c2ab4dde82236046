"""Real processes killed at random moments: the same command ends with the tokens and scores of an undisturbed run."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from milr.runs.files import PARTIAL
from milr.runs.store import RunStore
from milr.runs.unfinished import FOLDER
from milr.shapes.splits import prompts
from milr.workflows.stored import restore
from same_tokens import assert_same

KILLS = 20


def command(prompts_file: Path, out: Path) -> list[str]:
    """Twenty prompts, MILR with a few steps."""
    return [sys.executable, "-m", "milr.cli", "generate", "--prompts", str(prompts_file), "--steps", "4",
            "--in-flight", "6", "--out", str(out)]  # fmt: skip


def assert_same_runs(one: Path, other: Path) -> None:
    """The same tokens and scores for every prompt; a difference must begin at a near tie on record."""
    first, second = ({record.prompt.text: restore(record, out) for record in RunStore(out).records()}
                     for out in (one, other))  # fmt: skip
    assert first.keys() == second.keys()
    same = [assert_same(first[text], second[text]) for text in first]
    assert sum(same) >= len(same) - 2, "near ties are rare"


def results(out: Path) -> dict[str, object]:
    """Everything that must not depend on interruptions, by prompt."""
    return {
        record.prompt.text: (record.stop, [(step.score, step.text_ids, step.image_ids, step.moved)
                                           for step in record.steps])
        for record in RunStore(out).records()
    }  # fmt: skip


@pytest.mark.long
def test_killed_runs_lose_nothing_and_end_the_same(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("\n".join(prompt.text for prompt in prompts("development")[::7]) + "\n")
    began = time.monotonic()
    subprocess.run(command(file, tmp_path / "whole"), check=True, capture_output=True)
    duration = time.monotonic() - began
    whole = results(tmp_path / "whole")
    assert len(whole) == 20

    out, moment, kills = tmp_path / "killed", random.Random(4), 0
    seen: dict[str, object] = {}
    for _ in range(KILLS):
        process = subprocess.Popen(command(file, out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            _, err = process.communicate(timeout=moment.uniform(0.1, 0.5) * duration)
            assert process.returncode == 0, err
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
        now = results(out) if (out / "run.json").exists() else {}
        assert seen.items() <= now.items(), "something finished was lost or changed"
        seen = now
    assert kills >= 3
    finished = subprocess.run([*command(file, out), "--json"], check=True, capture_output=True, text=True)
    assert len(json.loads(finished.stdout)) == 20
    assert_same_runs(tmp_path / "whole", out)
    assert (out / "report.html").is_file()
    assert not list(out.rglob(f"*{PARTIAL}"))


def bench(out: Path) -> list[str]:
    """A benchmark with two samples for each prompt; every search is eight pictures long."""
    return [sys.executable, "-m", "milr.cli", "bench", "shapes", "--split", "development", "--limit", "20", "--samples",
            "2", "--pictures", "8", "--no-stop", "--in-flight", "8", "--out", str(out)]  # fmt: skip


def by_sample(out: Path) -> dict[tuple[str, int], object]:
    """Everything that must not depend on interruptions, the report metric's word included, by prompt and sample."""
    return {
        (record.prompt.text, record.sample): [(step.score, step.judged, step.text_ids, step.image_ids)
                                              for step in record.steps]
        for record in RunStore(out).records()
    }  # fmt: skip


@pytest.mark.long
def test_twenty_kills_of_a_benchmark_at_random_moments(tmp_path: Path) -> None:
    began = time.monotonic()
    subprocess.run(bench(tmp_path / "whole"), check=True, capture_output=True)
    duration = time.monotonic() - began
    assert len(by_sample(tmp_path / "whole")) == 40
    moment, kills, folder, lost, inside = random.Random(7), 0, 0, 0, 0
    while kills < KILLS:
        out = tmp_path / f"killed-{folder}"
        seen = by_sample(out) if (out / "run.json").exists() else {}
        process = subprocess.Popen(bench(out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            _, err = process.communicate(timeout=moment.uniform(0.2, 0.8) * duration)
            assert process.returncode == 0, err
            folder += 1
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
        now = by_sample(out) if (out / "run.json").exists() else {}
        lost += not (seen.items() <= now.items())
        inside += 0 < len(now) < 40
    assert lost == 0, "something finished was lost or changed"
    assert inside >= KILLS // 2, "most kills must hit a run that had begun and was not done"
    out = tmp_path / f"killed-{folder}"
    subprocess.run(bench(out), check=True, capture_output=True)
    whole = {(r.prompt.text, r.sample): r for r in RunStore(tmp_path / "whole").records()}
    for done in [tmp_path / f"killed-{number}" for number in range(folder + 1)]:
        made = {(r.prompt.text, r.sample): r for r in RunStore(done).records()}
        assert made.keys() == whole.keys()
        same = [assert_same(restore(made[key], done), restore(whole[key], tmp_path / "whole")) for key in made]
        assert sum(same) >= len(same) - 2, "near ties are rare"
        assert not list(done.rglob(f"*{PARTIAL}"))


SAVE_AT_ONCE = """
import milr.cli, milr.runs.unfinished
milr.runs.unfinished.SECONDS_BETWEEN_SAVES = 0.0
milr.cli.main()
"""


def single(out: Path, *more: str) -> list[str]:
    """One search of twelve pictures that writes every answer as soon as it has it."""
    return [sys.executable, "-c", SAVE_AT_ONCE, "generate", "two red stars and a blue circle", "--no-stop", "--steps",
            "11", "--out", str(out), *more]  # fmt: skip


def saved_answers(out: Path) -> int:
    return len(list((out / FOLDER).glob("*/*.safetensors")))


@pytest.mark.long
@pytest.mark.parametrize("more", [(), ("--samples", "3", "--metric", "held-out", "--reward", "detector")])
def test_a_search_killed_more_often_than_it_lasts_ends_the_same(tmp_path: Path, more: tuple[str, ...]) -> None:
    subprocess.run(single(tmp_path / "whole", *more), check=True, capture_output=True)
    out, kills, saved, moment = tmp_path / "killed", 0, 0, random.Random(1)
    signals = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
    while not RunStore(out).records():
        process = subprocess.Popen(single(out, *more), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while process.poll() is None and saved_answers(out) < saved + moment.randint(4, 7):
            time.sleep(0.002)
        sent = signals[kills % 3]
        process.send_signal(sent)
        _, err = process.communicate(timeout=60)
        assert process.returncode in (0, -sent, 128 + sent) and "Traceback" not in err, err
        if process.returncode:
            kills += 1
            assert saved_answers(out) > saved or RunStore(out).records(), "it does not get on"
        saved = saved_answers(out)
    subprocess.run(single(out, *more), check=True, capture_output=True)
    assert kills >= 5, "every life was shorter than the search"
    assert results(out) == results(tmp_path / "whole") if not more else True
    assert_same_runs(tmp_path / "whole", out)
    assert not (out / FOLDER).exists(), "what a search was answered is dropped when it ends"


@pytest.mark.long
def test_a_keyboard_interrupt_says_how_to_go_on(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("\n".join(prompt.text for prompt in prompts("development")[::7]) + "\n")
    process = subprocess.Popen(command(file, tmp_path / "run"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               text=True)  # fmt: skip
    while not (tmp_path / "run" / "run.json").exists() and process.poll() is None:
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "the same command goes on" in err and "Traceback" not in err
