"""The benchmark `t2i-compbench`: T2I-CompBench's validation prompts, six categories of 300 (arXiv 2307.06350).

A complex prompt's metadata says in which of the three complex lists it is, because its score depends on that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from milr.benchmarks.download import Files, Source
from milr.benchmarks.official_prompts import OfficialPrompts, lines_of, require_counts, require_distinct
from milr.rules.t2i_compbench import list_key
from milr.types import Prompt

COMMIT = "1b7094991a57f3c22abdd4f6e8ba6c1a15517073"
CATEGORIES = {
    "color": "1634259756dbc77d13093d907d414480080ec9790a8c97ad09efaea7b2534f2d",
    "shape": "37e1a276906c7ea9516cbd7ac8501be896006c0c17ca7344f260562834455bae",
    "texture": "fbb5363515b4a28009e360afaaaf389d2dd2289e50dbb0c6ef4ea0c7fe4f3d4f",
    "spatial": "8707a1d7e42ce3002d95363cf55f74bd043c843ae27108f5125aaaa7840ca988",
    "non_spatial": "04c56cc9ac441dc9ea6c5157652058bd1635b5308526dd31bb29a1caab9a758d",
    "complex": "1b808018b8d9916db3d47d5aa2ef18377a3549a56901a474156f799824cdf3b4",
}
# The name of each complex list to the end of its file's name and the file's hash.
LISTS = {
    "spatial": ("spatial", "6c7ac0ab75c7c9080cfc7b421fb059b9b0febb98471707aeedf58771088abc02"),
    "action": ("action", "d49ee4c7f99e3f3379fb8704a54ff5288b83bb412971edf616a4721c2473308e"),
    "spatial+action": ("spatialaction", "e02ddc7fed812e6577e7386ec2137ce0a994a5ce19771661f68df7ac349a6ca9"),
}
OFFICIAL_COUNT = 300  # prompts of each category


def _source(stem: str, sha256: str) -> Source:
    return Source("Karine-Huang/T2I-CompBench", COMMIT, f"examples/dataset/{stem}.txt", sha256)


class CompBench(OfficialPrompts):
    """T2I-CompBench's prompts (Karine-Huang/T2I-CompBench).

    `prompts` names a local folder with the nine files (color_val.txt, ...); without it they are fetched. Local files
    may hold other prompts: then `official` is False, and their counts are not checked.
    """

    name = "t2i-compbench"
    metric = "t2i-compbench"
    layout = "t2i-compbench"
    source: tuple[Source, ...] = (
        *(_source(f"{category}_val", sha256) for category, sha256 in CATEGORIES.items()),
        *(_source(f"complex_val_{end}", sha256) for end, sha256 in LISTS.values()),
    )
    deviations = ("Official runs draw 10 pictures for each prompt, the paper of MILR 1.",)

    def _parse(self, files: Files) -> list[Prompt]:
        named = [(source.name, content) for source, content in zip(self.source, files.contents, strict=True)]
        name = str(self._local or self.name)
        prompts = require_distinct(_prompts(named[: len(CATEGORIES)], _lists(named[len(CATEGORIES) :])), name)
        if files.official:
            require_counts(prompts, dict.fromkeys(CATEGORIES, OFFICIAL_COUNT), name)
        return prompts


NamedFiles = Sequence[tuple[str, bytes]]  # the name and the content of each file


def _prompts(files: NamedFiles, lists: Mapping[str, set[str]]) -> Iterator[Prompt]:
    for category, (file_name, content) in zip(CATEGORIES, files, strict=True):
        for index, (_, line) in enumerate(lines_of(content, file_name)):
            containing = [name for name, keys in lists.items() if list_key(line) in keys]
            metadata = {"lists": containing} if category == "complex" else None
            yield Prompt(line.strip(), f"{category}-{index:03d}", category, metadata, source=line)


def _lists(files: NamedFiles) -> dict[str, set[str]]:
    """The keys (`list_key`) of the prompts in each complex list."""
    return {name: {list_key(line) for _, line in lines_of(content, file_name)}
            for name, (file_name, content) in zip(LISTS, files, strict=True)}  # fmt: skip
