"""The benchmarks `wise` and `wise-verified`: WISE's 1000 prompts in both editions (arXiv 2503.07265).

The repository states no licence, so its files do not ship with the package: they are fetched, and checked by hash.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from milr.benchmarks.download import Files, Source, read_local
from milr.benchmarks.official_prompts import OfficialPrompts, require_distinct, text_of
from milr.inputs.json_text import JsonError, parse_json
from milr.rules.wise import LEGACY, VERIFIED, Edition, category_of, missing
from milr.types import Prompt, UsageError

COMMIT = "eb51174483a5de2e34e8614cf9dfb3319ee7fcd0"
STEMS = ("cultural_common_sense", "spatio-temporal_reasoning", "natural_science")
LEGACY_HASHES = (
    "7a59216c768698280cea37caa574b52f3faf054d73b398b9bb6b3161baf8e3aa",
    "e27d797885ad86e64d857d0cc93d33e04be572a8dcae95692a2c7e7876233f9a",
    "b262fae58e413c7a4bd3c3d5a089f8c6529feac227e4b6606be261a949035544",
)
VERIFIED_HASHES = (
    "23482925266e2784b2ba24b75239fdc6691bf85ae253d2c4aa38b71b45fefa89",
    "42c0b9d829365e392c2d4af283850dc76b1f922ab0c79198366de4f306eaf2b6",
    "6f346c336f16f611e5c73e0fcacdccb336c200d534cf111526b22d50ea912555",
)


def _sources(pattern: str, hashes: Sequence[str]) -> tuple[Source, ...]:
    return tuple(Source("PKU-YuanGroup/WISE", COMMIT, pattern.format(stem), sha256)
                 for stem, sha256 in zip(STEMS, hashes, strict=True))  # fmt: skip


class Wise(OfficialPrompts):
    """The prompts of the paper (PKU-YuanGroup/WISE), which the repository now calls legacy.

    `prompts` names a local folder with the three files, or one file with some or all prompts; without it they are
    fetched. Local files may hold other prompts, and need not hold all 1000: then `official` is False.
    """

    name = "wise"
    metric = "wise"
    layout = "wise"
    edition: Edition = LEGACY
    source: tuple[Source, ...] = _sources("WISE_legacy/data/{}.json", LEGACY_HASHES)
    deviations: tuple[str, ...] = (
        "Published numbers are of the judge gpt-4o-2024-05-13 in the official wording; another judge or wording gives "
        "other scores.",
    )

    def _parse(self, files: Files) -> list[Prompt]:
        names = [source.name for source in self.source] if len(files.contents) > 1 else [str(self._local)]
        contents = dict(zip(names, files.contents, strict=True))
        prompts = require_distinct(
            (prompt for name, content in contents.items() for prompt in self._prompts(name, content)),
            self.name, texts=False,
        )  # fmt: skip
        absent = missing({int(prompt.id): 0.0 for prompt in prompts}, self.edition)
        if files.official and absent:
            raise UsageError(f"{self.name} came without the prompt {absent[0]} and {len(absent) - 1} others: "
                             "delete its files from the cache, or name others with --prompts.")  # fmt: skip
        return prompts

    def _files(self) -> Files:
        """The three files; or one, with some or all of the prompts, where `prompts` names a file."""
        if self._local and not self._local.is_dir():
            return Files((read_local(self._local, self.source[0]),), False)
        return super()._files()

    def _prompts(self, name: str, content: bytes) -> Iterator[Prompt]:
        try:
            records = parse_json(text_of(content, name))
        except JsonError as error:
            raise UsageError(f"{name} is not a JSON array ({error}): restore the file.") from None
        if not isinstance(records, list):
            raise UsageError(f"{name} is not a JSON array: restore the file.")
        for position, record in enumerate(records, 1):
            yield _prompt(record, position, name=name, edition=self.edition)


class WiseVerified(Wise):
    """The repository's default since April 2026: other prompts, ranges and weights, and one mark of 0 or 1."""

    name = "wise-verified"
    metric = "wise-verified"
    edition = VERIFIED
    source = _sources("data_verified/{}_verified.json", VERIFIED_HASHES)
    deviations = (
        "The leaderboard's numbers are of the judge Qwen3.5-35B-A3B in the official wording, without thinking; another "
        "judge or wording gives other scores.",
    )


def _prompt(record: Any, position: int, *, name: str, edition: Edition) -> Prompt:
    """The prompt of one record; UsageError, with its position, counted from 1, where it is not in WISE's format."""
    try:
        text, explanation, subcategory = (record[key] for key in ("Prompt", "Explanation", "Subcategory"))
        number = int(record["prompt_id"])
        valid = all(isinstance(value, str) for value in (text, explanation, subcategory)) and bool(text.strip())
    except (KeyError, TypeError, ValueError, OverflowError):  # int() of an infinite id
        valid = False
    if not valid:
        raise UsageError(f"record {position} of {name} is not in WISE's format: it needs Prompt, Explanation, "
                         "Subcategory and a prompt_id.")  # fmt: skip
    metadata = {"explanation": explanation, "subcategory": subcategory}
    return Prompt(text.strip(), str(number), category_of(number, edition), metadata)
