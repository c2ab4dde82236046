"""Files of a finished run, damaged one at a time: truncated, bits flipped, emptied, replaced, deleted, linked away."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

from tests.faults.process import Command, run
from tests.faults.runs import BrokenRun, difference, lost, state
from tests.faults.tally import Tally

HARMLESS = ("report.html", "report.json", "table.csv")  # made again by every report
READERS = (["report", "{run}"], ["compare", "{run}", "--out", "{run}/compared"],
           ["export", "{run}", "--layout", "geneval", "--to", "{run}/exported"])  # fmt: skip


def _truncate(path: Path, moment: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: moment.randrange(len(content) + 1)])


def _flip(path: Path, moment: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[moment.randrange(len(content))] ^= 1 << moment.randrange(8)
    path.write_bytes(bytes(content))


def _garbage(path: Path, moment: random.Random) -> None:
    path.write_bytes(moment.randbytes(moment.randrange(1, 4000)))


def _empty(path: Path, moment: random.Random) -> None:
    path.write_bytes(b"")


def _delete(path: Path, moment: random.Random) -> None:
    path.unlink()


def _zeros(path: Path, moment: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _deep(path: Path, moment: random.Random) -> None:
    path.write_text("[" * 100_000)


def _folder(path: Path, moment: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _dangling(path: Path, moment: random.Random) -> None:
    path.unlink()
    path.symlink_to("/nowhere/at/all")


def _endless(path: Path, moment: random.Random) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _fifo(path: Path, moment: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def _value(path: Path, moment: random.Random) -> None:
    """Another value somewhere in a JSON file; a bit elsewhere."""
    try:
        content = json.loads(path.read_text())
    except ValueError:
        return _flip(path, moment)
    node, key = content, None
    while isinstance(node, (dict, list)) and node:
        parent = node
        key = moment.choice(list(node) if isinstance(node, dict) else range(len(node)))
        node = node[key]
        if moment.random() < 0.3:
            break
    if key is not None:
        parent[key] = moment.choice([None, -1, 2.5, "NaN", "../../../etc/passwd", [], {}, True, "\ud800", 10**400,
                                     "a" * 100_000])  # fmt: skip
    path.write_text(json.dumps(content))
    return None


DAMAGES: tuple[Callable[[Path, random.Random], None], ...] = (
    _truncate, _truncate, _flip, _flip, _flip, _flip, _value, _value, _value, _value, _garbage, _empty, _delete, _zeros,
    _deep, _folder, _dangling, _endless, _fifo,
)  # fmt: skip


def damage_files(tally: Tally, broken: BrokenRun, moment: random.Random, count: int) -> None:
    """Damage one file, let a reader read, then resume: nothing else is lost, and the result is the undisturbed one."""
    for number in range(count):
        out = broken.copy("damaged")
        files = sorted(path for path in out.rglob("*") if path.is_file() and path.name not in HARMLESS)
        path, damage = moment.choice(files), DAMAGES[number % len(DAMAGES)]
        name = path.relative_to(out)
        owner = path.stem if path.parent.name == "records" else path.parent.name
        damage(path, moment)
        detail = f"{damage.__name__} of {name}"
        before = state(out)
        kind = f"damaged {'record' if 'records' in name.parts else path.suffix[1:] or 'file'}"
        reader = READERS[number % len(READERS)]
        ended = run(Command([word.format(run=out) for word in reader], broken.folder))
        tally.add(f"{kind}, {reader[0]}", ended, lost=lost(before, state(out)), detail=detail)
        if number % 3 == 0:
            again = run(Command(broken.into(out), broken.folder))
            problem = difference(out, broken.whole) if again.code == 0 else ""
            others = {key: value for key, value in before.items() if owner not in str(key)}
            tally.add(f"{kind}, resume", again, lost=lost(others, state(out)) if not again.code else 0,
                      problem=problem, detail=detail)  # fmt: skip
