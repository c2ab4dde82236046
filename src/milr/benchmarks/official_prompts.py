"""What the official benchmarks share: prompts that are read from their files, once, and checked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from milr.benchmarks.download import Fetch, Files, Source, fetch, load_files
from milr.inputs.text import decode_text
from milr.types import Prompt, UsageError


class OfficialPrompts:
    """The prompts in the files of `source`, fetched or from the local copy `prompts`; read once, at the first use.

    A subclass sets `source` and implements `_parse`.
    """

    source: tuple[Source, ...]

    def __init__(self, prompts: Path | None = None, fetch: Fetch = fetch) -> None:
        self._local, self._fetch = prompts, fetch
        self._loaded: tuple[list[Prompt], bool] | None = None

    @property
    def official(self) -> bool:
        """Whether the prompts are known to be the benchmark's own."""
        return self._load()[1]

    def prompts(self) -> list[Prompt]:
        """All prompts in the order of the files."""
        return list(self._load()[0])

    def _load(self) -> tuple[list[Prompt], bool]:
        """The prompts, and whether they are official."""
        if self._loaded is None:
            files = self._files()
            self._loaded = self._parse(files), files.official
        return self._loaded

    def _files(self) -> Files:
        """The contents of all files of `source`."""
        return load_files(self.source, self._local, self._fetch)

    def _parse(self, files: Files) -> list[Prompt]:
        """The prompts in the files; UsageError where something is wrong with them."""
        raise NotImplementedError


def text_of(content: bytes, name: str) -> str:
    """The file as text; UsageError where it is neither UTF-8 nor UTF-16 with its mark."""
    return decode_text(content, name)


def lines_of(content: bytes, name: str) -> list[tuple[int, str]]:
    """The lines that are not blank, without their ends (LF or CR LF), each with its number, counted from 1."""
    lines = re.split("\r?\n", text_of(content, name))
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def require_distinct(prompts: Iterable[Prompt], name: str, *, texts: bool = True) -> list[Prompt]:
    """The prompts; UsageError where there is none, or where two have the same id or (with `texts`) the same text.

    `name` is that of the file or benchmark in the error message.
    """
    prompts = list(prompts)
    if not prompts:
        raise UsageError(f"{name} has no prompts: restore the file.")
    columns = [("prompt", [prompt.text for prompt in prompts])] if texts else []
    for kind, values in [*columns, ("id", [prompt.id for prompt in prompts])]:
        repeated = [value for value, count in Counter(values).items() if count > 1]
        if repeated:
            raise UsageError(f"{name} has the {kind} {repeated[0]!r} more than once: leave all but one out.")
    return prompts


def require_counts(prompts: Sequence[Prompt], counts: Mapping[str, int], name: str) -> None:
    """UsageError unless the prompts' categories are those of `counts`, in its order, each as often as it says."""
    if [prompt.category for prompt in prompts] != [tag for tag, count in counts.items() for _ in range(count)]:
        actual = ", ".join(f"{tag} {count}" for tag, count in Counter(prompt.category for prompt in prompts).items())
        official = ", ".join(f"{tag} {count}" for tag, count in counts.items())
        raise UsageError(f"{name} has {actual}, and the official file has {official}, in this order: restore the file.")
