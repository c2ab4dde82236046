"""What the files of the official benchmarks have in common: lines, and prompts told apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from milr.benchmarks.download import Fetch, Files, Source, fetch, files_of
from milr.types import Prompt, UsageError


class OfficialPrompts:
    """Prompts of the files in `source`: fetched, or from a local copy; read once, when they are first asked for."""

    source: tuple[Source, ...]

    def __init__(self, prompts: Path | None = None, fetch: Fetch = fetch) -> None:
        self._local, self._fetch = prompts, fetch
        self._read: tuple[list[Prompt], bool] | None = None

    @property
    def official(self) -> bool:
        """Whether the prompts are known to be the benchmark's own."""
        return self._loaded()[1]

    def prompts(self) -> list[Prompt]:
        """All prompts in the files' order."""
        return list(self._loaded()[0])

    def _loaded(self) -> tuple[list[Prompt], bool]:
        if self._read is None:
            files = files_of(self.source, self._local, self._fetch)
            self._read = self._parsed(files), files.official
        return self._read

    def _parsed(self, files: Files) -> list[Prompt]:
        """The prompts in the files, checked."""
        raise NotImplementedError


def text_of(content: bytes, name: str) -> str:
    """The file as text; UsageError where it is not UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{name} is not UTF-8 text: restore the file.") from None


def lines_of(content: bytes, name: str) -> list[tuple[int, str]]:
    """The lines that are not blank, without their ends (LF or CR LF), each with its number from 1."""
    lines = re.split("\r?\n", text_of(content, name))
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def told_apart(prompts: Iterable[Prompt], name: str, *, texts: bool = True) -> list[Prompt]:
    """The prompts; UsageError where there is none, or where two share their id or (`texts`) their text."""
    found = list(prompts)
    if not found:
        raise UsageError(f"{name} has no prompts: restore the file.")
    kinds = [("prompt", [prompt.text for prompt in found])] if texts else []
    for kind, values in [*kinds, ("id", [prompt.id for prompt in found])]:
        repeated = [value for value, count in Counter(values).items() if count > 1]
        if repeated:
            raise UsageError(f"{name} has the {kind} {repeated[0]!r} more than once: leave all but one out.")
    return found


def refuse_other_counts(prompts: Sequence[Prompt], counts: Mapping[str, int], name: str) -> None:
    """UsageError where the prompts do not come in runs of these categories, in this order and of these lengths."""
    if [prompt.category for prompt in prompts] != [tag for tag, count in counts.items() for _ in range(count)]:
        told = ", ".join(f"{tag} {count}" for tag, count in Counter(prompt.category for prompt in prompts).items())
        wanted = ", ".join(f"{tag} {count}" for tag, count in counts.items())
        raise UsageError(f"{name} has {told}, and the official file has {wanted}, in this order: restore the file.")
