"""Signals and lost output: one Ctrl-C ends everything with 130, and nothing that was made is lost for want of a reader.

All of it happens in processes of their own; small programs stand in for a run where a run would only take longer.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from milr.cli.interrupts import MESSAGE
from milr.runs.store import RunStore

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
MILR = [sys.executable, "-m", "milr.cli"]
PROGRAM = """
import asyncio, sys, threading, time
from milr.cli import interrupts
interrupts.PATIENCE = 0.5
interrupts.handle_signals()

async def tidy():
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.1)
        print("tidied", flush=True)

async def stubborn():
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

async def slow_to_end():
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(60)

def busy():
    print("ready", flush=True)
    time.sleep(60)

async def work(function):
    print("ready", flush=True)
    await function()

what = sys.argv[1]
if what == "busy":
    busy()
try:
    interrupts.run_async(work(globals()[what]))
except KeyboardInterrupt:
    interrupts.end(interrupts.exit_code())
"""


def start(command: list[str], **streams: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(command, text=True, env=ENVIRONMENT, **{
        "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams})  # fmt: skip


def interrupt(what: str, *pauses: float, number: int = signal.SIGINT) -> tuple[int, str, str, float]:
    """The program's exit code, output, errors, and the seconds from the first signal to its end."""
    process = start([sys.executable, "-c", PROGRAM, what])
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    began = time.monotonic()
    for pause in (0.0, *pauses):
        time.sleep(pause)
        process.send_signal(number)
    out, err = process.communicate(timeout=20)
    return process.returncode, out, err, time.monotonic() - began


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_first_signal_cancels_the_work_which_ends_in_order(number: int, code: int) -> None:
    returned, out, err, _ = interrupt("tidy", number=number)
    assert (returned, out) == (code, "tidied\n") and "Traceback" not in err


def test_a_signal_that_comes_twice_at_once_is_one() -> None:
    returned, out, err, _ = interrupt("tidy", 0.02, 0.02)
    assert (returned, out) == (130, "tidied\n") and "Traceback" not in err


@pytest.mark.parametrize("what", ["stubborn", "slow_to_end"])
def test_one_signal_ends_what_does_not_let_itself_be_cancelled(what: str) -> None:
    returned, _, err, seconds = interrupt(what)
    assert returned == 130 and seconds < 5
    assert err.strip() == MESSAGE


def test_a_second_signal_does_not_wait() -> None:
    program = PROGRAM.replace("PATIENCE = 0.5", "PATIENCE = 60.0")
    process = start([sys.executable, "-c", program, "slow_to_end"])
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.7)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130 and err.strip() == MESSAGE


def test_where_no_work_goes_on_it_ends_at_once() -> None:
    returned, _, err, seconds = interrupt("busy")
    assert (returned, err.strip()) == (130, MESSAGE) and seconds < 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_while_everything_still_loads(number: int) -> None:
    program = "import milr.cli, sys, time\nprint('ready', flush=True)\nsys.argv = ['milr', 'list']\nmilr.cli.main()"
    for pause in (0.02, 0.1, 0.2):
        process = start([sys.executable, "-c", program])
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(pause)
        for _ in range(5):
            process.send_signal(number)
            time.sleep(0.01)
        _, err = process.communicate(timeout=20)
        # -number: a signal after everything is done, while Python ends and has no handlers any more
        assert process.returncode in (128 + number, 0, -number) and "Traceback" not in err
        assert process.returncode == 0 or err.strip() == (MESSAGE if process.returncode > 0 else "")


def test_ignored_signals_stay_ignored() -> None:
    program = ("import signal\nfrom milr.cli import interrupts\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
               "interrupts.handle_signals()\nassert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN")  # fmt: skip
    assert subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, timeout=20).returncode == 0


# Output


def test_a_reader_that_ends_early_is_no_failure() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = start([*MILR, "list"], stdout=writing)
    os.close(writing)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert err == "milr: whoever read the output has ended; the work is finished, and written where it belongs.\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_device_is_said() -> None:
    with open("/dev/full", "w") as full:
        process = start([*MILR, "list"], stdout=full)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 2 and "No space left on device" in err and err.count("\n") == 1
        process = start([*MILR, "list", "nonsense"], stdout=full, stderr=full)
        assert process.wait(20) == 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_characters_that_the_terminal_lacks_fail_nothing(encoding: str, tmp_path: Path) -> None:
    program = "from milr.cli import streams\nstreams.protect_streams()\nprint('before \u2192 \\ud800 after')"
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": encoding}
    out = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True).stdout
    arrow = "\u2192" if encoding == "utf-8" else "?"
    assert out.decode(encoding) == f"before {arrow} ? after\n"


def test_closed_streams_fail_nothing() -> None:
    done = subprocess.run(["sh", "-c", f"{sys.executable} -m milr.cli list >&- 2>&-"], env=ENVIRONMENT, timeout=30)
    assert done.returncode == 0


@pytest.mark.long
def test_a_search_whose_reader_ends_is_finished_and_written(tmp_path: Path) -> None:
    environment = ENVIRONMENT | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    line = f"{sys.executable} -m milr.cli generate 'a red star' --no-stop --steps 3 --out {tmp_path / 'run'} | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], env=environment, capture_output=True, text=True,
                          timeout=120)  # fmt: skip
    assert done.returncode == 0 and done.stdout.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr and "the work is finished" in done.stderr
    (record,) = RunStore(tmp_path / "run").records()
    assert len(record.steps) == 4 and (tmp_path / "run" / "report.html").is_file()


# Rewards that misbehave

REWARDS = """
import time, sys

def hangs(picture, prompt):
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass
"""


@pytest.mark.long
def test_one_ctrl_c_ends_a_run_whose_reward_hangs(tmp_path: Path) -> None:
    (tmp_path / "reward.py").write_text(REWARDS)
    process = start([*MILR, "generate", "a red star", "--reward", f"{tmp_path}/reward.py:hangs", "--out",
                     str(tmp_path / "run")])  # fmt: skip
    while not (tmp_path / "run" / "run.json").exists() and process.poll() is None:
        time.sleep(0.1)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and time.monotonic() - began < 8
    assert MESSAGE in err and "Traceback" not in err
