"""What a machine and a user's own code do to a run: closed pipes, odd terminals, little memory, NaN, wild rewards."""

from __future__ import annotations

import functools
import os
import random
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.process import Command, run
from tests.faults.runs import BrokenRun, difference, lost, state
from tests.faults.tally import Tally

from milr.models import nano

REWARDS = """
import os, signal, sys, time

def nan(picture, prompt): return float("nan")
def none(picture, prompt): return None
def text(picture, prompt): return "a text"
def huge(picture, prompt): return 10 ** 400
def negative(picture, prompt): return -1
def raises(picture, prompt): raise ValueError("\\x1b[31m not today \\ud800" + "x" * 100_000)
def exits(picture, prompt): sys.exit(7)
def base(picture, prompt): raise BaseException("all the way up")
def keyboard(picture, prompt): raise KeyboardInterrupt
def memory(picture, prompt): raise MemoryError
def recursion(picture, prompt): return recursion(picture, prompt)
def stops(picture, prompt): raise StopIteration
def prints(picture, prompt): print("\\x1b]0;title\\x07" * 1000); return 0.5
def closes(picture, prompt): picture.close(); return 0.5
def changes(picture, prompt): picture.putpixel((0, 0), (1, 2, 3)); return 0.5
def threads(picture, prompt):
    import threading
    threading.Thread(target=time.sleep, args=(1000,)).start()
    return 0.5
"""
NAMES = [line.split()[1].partition("(")[0] for line in REWARDS.splitlines() if line.startswith("def ")]


def wild_rewards(tally: Tally, broken: BrokenRun) -> None:
    """Reward functions that give or do what they must not."""
    file = broken.folder / "rewards.py"
    file.write_text(REWARDS)
    for name in NAMES:
        out = broken.folder / f"reward-{name}"
        arguments = ["generate", "a red star", "--steps", "3", "--reward", f"{file}:{name}", "--out", str(out)]
        ended = run(Command(arguments, broken.folder))
        forbidden = "\x1b" in ended.err or len(ended.err) > 5_000
        tally.add("wild reward function", ended, detail=name,
                  problem="escapes or endless text in the error" if forbidden else "")  # fmt: skip


def _closed_stdout() -> None:
    read, write = os.pipe()
    os.close(read)
    os.dup2(write, 1)


def pipes(tally: Tally, broken: BrokenRun, rounds: int) -> None:
    """Readers that go away, full devices, terminals without Unicode; the run is finished all the same."""
    conditions = [
        ("closed pipe", {"setup": _closed_stdout}), ("stdout on a full device", {"stdout": "/dev/full"}),
        ("ASCII output", {"environment": {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}}),
        ("a narrow terminal", {"environment": {"COLUMNS": "1"}}),
        ("an unknown terminal", {"environment": {"TERM": "nothing", "FORCE_COLOR": "1"}}),
    ]  # fmt: skip
    for number in range(rounds):
        for kind, more in conditions:
            out = broken.folder / f"pipe-{number}-{kind.replace(' ', '-')}"
            arguments = broken.into(out) + (["--json"] if number % 2 else [])
            ended = run(Command(arguments, broken.folder, **more))  # type: ignore[arg-type]
            tally.add(kind, ended, problem=difference(out, broken.whole), detail=" ".join(arguments[-2:]))


def little_memory(tally: Tally, broken: BrokenRun, moment: random.Random, count: int) -> None:
    """An address space too small for the run: a sentence, and with room it goes on to the undisturbed result."""
    for number in range(count):
        out, limit = broken.folder / f"memory-{number}", int(10 ** moment.uniform(6.5, 9.2))
        ended = run(Command(broken.into(out), broken.folder, memory_bytes=limit))
        before = state(out)
        again = run(Command(broken.into(out), broken.folder))
        problem = f"then {again.code}: {again.err[-300:]}" if again.code else difference(out, broken.whole)
        hopeless = ended.code in (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS)  # in native code: no Python ran
        tally.add("little memory" + (" (ended inside native code)" if hopeless else ""), None if hopeless else ended,
                  lost=lost(before, state(out)), problem=problem, detail=f"{limit / 2**20:.0f} MiB")  # fmt: skip


def two_at_once(tally: Tally, broken: BrokenRun, moment: random.Random, count: int) -> None:
    """Two processes on one folder, one of them killed in every other round."""
    for number in range(count):
        out = broken.folder / f"two-{number}"
        command = Command(broken.into(out), broken.folder)
        kill = moment.uniform(0.2, 3.0) if number % 2 else None
        with ThreadPoolExecutor(2) as pool:
            ends = [one.result() for one in [pool.submit(run, command, kill_after=after) for after in (kill, None)]]
        again = run(command)
        bad = next((ended for ended in ends if ended.traceback), again)
        tally.add("two processes on one folder", bad, problem=difference(out, broken.whole), killed=False)


def _use_weights(folder: Path) -> None:
    nano.folder = lambda: folder


def broken_weights(tally: Tally, broken: BrokenRun, moment: random.Random, count: int) -> None:
    """nano's own checkpoint with NaN in a tensor, bits flipped, or a file cut short."""
    import torch
    from safetensors.torch import load_file, save_file

    source = nano.folder()
    for number in range(count):
        folder = broken.folder / "weights"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        files = sorted(folder.rglob("*.safetensors"))
        file, how = moment.choice(files), ("NaN", "cut", "flipped header", "infinity")[number % 4]
        if how in ("NaN", "infinity"):
            tensors = load_file(file)
            name = moment.choice(sorted(tensors))
            tensors[name] = torch.full_like(tensors[name], float("nan") if how == "NaN" else float("inf"))
            save_file(tensors, file, metadata={"format": "pt"})
        else:
            content = bytearray(file.read_bytes())
            if how == "cut":
                del content[moment.randrange(len(content)) :]
            else:
                content[moment.randrange(400)] ^= 1 << moment.randrange(8)
            file.write_bytes(bytes(content))
        out = broken.folder / "weights-run"
        shutil.rmtree(out, ignore_errors=True)
        arguments = ["generate", "a red star", "--steps", "1", "--out", str(out)]
        ended = run(Command(arguments, broken.folder, setup=functools.partial(_use_weights, folder)))
        problem = "" if ended.code or how == "flipped header" else "weights that are no numbers drew a picture"
        tally.add(f"weights: {how}", ended, problem=problem, detail=file.name)
