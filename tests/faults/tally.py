"""What was tried and what became of it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.faults.process import Ended


@dataclass
class Count:
    """The faults of one kind. `kills` are those that ended a process from outside."""

    tried: int = 0
    survived: int = 0
    kills: int = 0
    lost: int = 0
    tracebacks: int = 0
    wrong_codes: int = 0
    seconds: float = 0.0


@dataclass
class Tally:
    """Counts by kind, and the first problems in words."""

    counts: dict[str, Count] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    _last: float = field(default_factory=time.monotonic)

    def of(self, kind: str) -> Count:
        """The count of a kind."""
        return self.counts.setdefault(kind, Count())

    def add(self, kind: str, ended: Ended | None = None, *, lost: int = 0, killed: bool = False, problem: str = "",
            detail: str = "") -> None:  # fmt: skip
        """One fault. `lost`: finished records that are gone or changed; `problem`: what else went wrong."""
        count = self.of(kind)
        count.tried += 1
        count.kills += killed
        count.seconds, self._last = count.seconds + time.monotonic() - self._last, time.monotonic()
        count.lost += lost
        traceback = bool(ended and ended.traceback)
        wrong = bool(ended and not (ended.documented or killed))
        count.tracebacks += traceback
        count.wrong_codes += wrong
        if not (lost or traceback or wrong or problem):
            count.survived += 1
            return
        words = [f"{lost} records lost or changed"] if lost else []
        if ended and (traceback or wrong):
            words.append(f"exit {ended.code}{', timed out' if ended.timed_out else ''}: {ended.err[-900:]}")
        self.problems.append(f"{kind} ({detail}): {'; '.join([*words, problem])}")

    def total(self) -> Count:
        """All kinds together."""
        total = Count()
        for count in self.counts.values():
            for name, value in asdict(count).items():
                setattr(total, name, getattr(total, name) + value)
        return total

    @property
    def clean(self) -> bool:
        """Whether every fault was survived."""
        return self.total().survived == self.total().tried

    def write(self, path: Path, **more: object) -> None:
        """The counts as JSON."""
        counts = {kind: asdict(count) for kind, count in self.counts.items()}
        content = {**more, "total": asdict(self.total()), "kinds": counts, "problems": self.problems}
        path.write_text(json.dumps(content, indent=1) + "\n")

    def rows(self) -> list[list[str]]:
        """A table's rows, the total last."""
        return [[kind, *map(str, (count.tried, count.kills, count.survived, count.lost, count.tracebacks,
                                  count.wrong_codes)), f"{count.seconds:.0f}"]
                for kind, count in [*self.counts.items(), ("all", self.total())]]  # fmt: skip


HEADER = ["fault", "tried", "kills", "survived", "records lost", "tracebacks", "wrong exit codes", "seconds"]
