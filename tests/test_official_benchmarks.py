"""The official benchmarks' prompts, from small files of ours in the same formats (the real ones are not in here)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from milr.base import Benchmark
from milr.benchmarks import geneval as geneval_file
from milr.benchmarks.download import Fetch, Source, sha256
from milr.benchmarks.dpg_bench import DpgBench
from milr.benchmarks.geneval import COUNTS, GenEval
from milr.benchmarks.geneval2 import GenEval2
from milr.benchmarks.t2i_compbench import CATEGORIES, LISTS, CompBench
from milr.benchmarks.unigenbench import UniGenBench
from milr.benchmarks.wise import STEMS, Wise, WiseVerified
from milr.types import UsageError

# Spaces, an order of fields and an escape that json.dumps would not write.
BENCH = '{"tag":  "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"}'
CUP = '{"prompt": "a photo of a cup at a caf\\u00e9", "tag": "colors", "include": [{"class":"cup","count":1,"color":"red"}]}'  # noqa: E501
COWS = '{"tag": "counting", "include": [{"class": "cow", "count": 2}], "exclude": [{"class": "cow", "count": 3}], "prompt": "a photo of two cows"}'  # noqa: E501


def geneval_line(tag: str, number: int) -> str:
    return json.dumps({"tag": tag, "include": [{"class": "cow", "count": 1}], "prompt": f"a photo of {tag} {number}"})


def official_lines() -> list[str]:
    return [geneval_line(tag, number) for tag, count in COUNTS.items() for number in range(count)]


def always(content: bytes) -> Fetch:
    return lambda source: content


def by_name(files: dict[str, bytes]) -> Fetch:
    def fetch(source: Source) -> bytes:
        return files[source.name]

    return fetch


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


# --- GenEval


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_geneval_by_hand(tmp_path, end, last):
    path = tmp_path / "mine.jsonl"
    path.write_bytes((end.join([BENCH, CUP, "", COWS]) + (end if last else "")).encode())
    benchmark = GenEval(path)
    bench, cup, cows = benchmark.prompts()
    assert not benchmark.official
    assert (bench.text, bench.id, bench.category) == ("a photo of a bench", "geneval-00000", "single_object")
    assert [prompt.source for prompt in (bench, cup, cows)] == [BENCH, CUP, COWS]
    assert cup.text == "a photo of a cup at a café" and cup.id == "geneval-00001"
    assert cup.metadata == {"tag": "colors", "include": [{"class": "cup", "count": 1, "color": "red"}]}
    assert cows.metadata["exclude"] == [{"class": "cow", "count": 3}] and cows.id == "geneval-00002"


def test_the_official_geneval_has_its_counts_in_its_order(tmp_path, monkeypatch):
    lines = official_lines()
    benchmark = GenEval(fetch=always("\n".join(lines).encode()))
    assert benchmark.official and len(benchmark.prompts()) == 553
    assert benchmark.prompts()[352].category == "colors" and benchmark.prompts()[353].category == "position"
    for wrong in (lines[:-1], [*lines[1:], lines[0]]):
        with pytest.raises(UsageError, match="single_object (79|80).* official file has single_object 80, two"):
            GenEval(fetch=always("\n".join(wrong).encode())).prompts()
    (tmp_path / "copy").write_text("\n".join(lines[:-1]))
    assert len(GenEval(tmp_path / "copy").prompts()) == 552, "another local file has counts of its own"
    source = Source("a/b", "c", "copy", sha256((tmp_path / "copy").read_bytes()))
    monkeypatch.setattr(GenEval, "source", (source,))
    with pytest.raises(UsageError, match="color_attr 99"):
        GenEval(tmp_path / "copy").prompts()


@pytest.mark.parametrize(
    "line",
    ["nonsense", "[1]", '{"tag": "colors", "include": []}', BENCH.replace('"count": 1', '"count": 0'),
     BENCH.replace('"class": "bench"', '"class": 3'), BENCH.replace('"tag":  "single_object", ', ""),
     BENCH.replace("a photo of a bench", " "), BENCH.replace('[{"class": "bench", "count": 1}]', "[]"),
     BENCH.replace('[{"class": "bench", "count": 1}]', "7")],
)  # fmt: skip
def test_a_line_that_is_not_geneval_is_named(line):
    with pytest.raises(UsageError, match="line 3 of evaluation_metadata.jsonl is not in GenEval's format"):
        GenEval(fetch=always(f"{COWS}\n\n{line}\n".encode())).prompts()


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "has no prompts"), (b"\n\n", "has no prompts"), (b"\xff\xf0", "not UTF-8"),
     (f"{BENCH}\n{CUP}\n{BENCH}".encode(), "the prompt 'a photo of a bench' more than once")],
)  # fmt: skip
def test_a_file_that_cannot_be(tmp_path, content, says):
    (tmp_path / "mine").write_bytes(content)
    with pytest.raises(UsageError, match=says):
        GenEval(tmp_path / "mine").prompts()


def test_the_file_is_asked_for_once_and_not_before_it_is_needed():
    addresses = []

    def fetch(source: Source) -> bytes:
        addresses.append(source.address())
        return "\n".join(official_lines()).encode()

    benchmark = GenEval(fetch=fetch)
    assert addresses == []
    benchmark.prompts().clear()
    assert len(benchmark.prompts()) == 553 and benchmark.official
    assert addresses == ["https://raw.githubusercontent.com/djghosh13/geneval/af4902f24d3ca90ebbb446dd9891a59e0f82725f/"
                     "prompts/evaluation_metadata.jsonl"]  # fmt: skip
    assert geneval_file.SOURCE.sha256.startswith("5c48e081")


# --- T2I-CompBench


SPATIAL, ACTION = "The round clock is next to the frame.", "The Elephants, in grey, ran. Fast."
BOTH, NEITHER = "A dog sits on the mat.", "A quiet picture."


def compbench_files() -> dict[str, bytes]:
    """CR LF with and without a last line end, one file with LF; complex lists in other cases."""
    files = {f"{category}_val.txt": f"a {category} cup\r\na {category} bowl.".encode() for category in CATEGORIES}
    files["shape_val.txt"] = b"a round cup\na square bowl.\n"
    files["complex_val.txt"] = "\r\n".join([ACTION, SPATIAL, NEITHER, BOTH, ""]).encode()
    files["complex_val_spatial.txt"] = f"{SPATIAL.upper()}\r\n".encode()
    files["complex_val_action.txt"] = b"the elephants, in grey, ran\r\n"
    files["complex_val_spatialaction.txt"] = f"{BOTH}\r\n".encode()
    return files


def test_compbench_by_hand(tmp_path):
    benchmark = CompBench(written(tmp_path, compbench_files()))
    prompts = benchmark.prompts()
    assert not benchmark.official
    assert [prompt.text for prompt in prompts[:4]] == ["a color cup", "a color bowl.", "a round cup", "a square bowl."]
    assert [prompt.id for prompt in prompts[:4]] == ["color-000", "color-001", "shape-000", "shape-001"]
    assert list(dict.fromkeys(prompt.category for prompt in prompts)) == list(CATEGORIES)
    assert all(prompt.metadata is None for prompt in prompts if prompt.category != "complex")
    assert all(prompt.source == prompt.text for prompt in prompts)


def test_a_complex_prompt_knows_its_lists(tmp_path):
    prompts = CompBench(written(tmp_path, compbench_files())).prompts()
    lists = {prompt.text: prompt.metadata["lists"] for prompt in prompts if prompt.category == "complex"}
    assert lists == {ACTION: ["action"], SPATIAL: ["spatial"], BOTH: ["spatial+action"], NEITHER: []}


def whole_compbench(skip: str = "") -> dict[str, bytes]:
    names = [f"{category}_val.txt" for category in CATEGORIES]
    files = {name: "\r\n".join(f"{name} {n}." for n in range(300 - (name == skip))).encode() for name in names}
    return files | {f"complex_val_{end}.txt": b"nothing" for end, _ in LISTS.values()}


def test_the_official_compbench_has_six_times_300():
    benchmark = CompBench(fetch=by_name(whole_compbench()))
    assert benchmark.official and len(benchmark.prompts()) == 1800 and benchmark.prompts()[-1].id == "complex-299"
    with pytest.raises(UsageError, match="texture 299"):
        CompBench(fetch=by_name(whole_compbench("texture_val.txt"))).prompts()


def test_a_prompt_in_two_categories_is_refused(tmp_path):
    files = compbench_files() | {"shape_val.txt": b"a color cup"}
    with pytest.raises(UsageError, match="the prompt 'a color cup' more than once"):
        CompBench(written(tmp_path, files)).prompts()


# --- WISE


def record(number: int, **changes: object) -> dict[str, object]:
    return {"Prompt": f"prompt {number}", "Explanation": f"shows {number}", "Category": "x", "Subcategory": "sub",
            "prompt_id": number, **changes}  # fmt: skip


def wise_files(ids: list[range], suffix: str = "", **changes: object) -> dict[str, bytes]:
    return {f"{stem}{suffix}.json": json.dumps([record(number, **changes) for number in numbers]).encode()
            for stem, numbers in zip(STEMS, ids, strict=True)}  # fmt: skip


LEGACY_IDS = [range(1, 401), range(401, 701), range(701, 1001)]
VERIFIED_IDS = [range(1, 401), range(401, 641), range(641, 1001)]


def test_wise_by_hand(tmp_path):
    benchmark = Wise(written(tmp_path, wise_files([range(17, 18), range(567, 569), range(900, 902)])))
    prompts = benchmark.prompts()
    assert not benchmark.official
    assert [(prompt.id, prompt.category) for prompt in prompts] == [
        ("17", "culture"), ("567", "time"), ("568", "space"), ("900", "physics"), ("901", "chemistry"),
    ]  # fmt: skip
    assert prompts[0].text == "prompt 17"
    assert prompts[0].metadata == {"explanation": "shows 17", "subcategory": "sub"}


def test_the_editions_differ_in_ranges():
    legacy = Wise(fetch=by_name(wise_files(LEGACY_IDS)))
    verified = WiseVerified(fetch=by_name(wise_files(VERIFIED_IDS, "_verified")))
    assert legacy.official and verified.official
    for benchmark, sizes in ((legacy, (400, 167, 133, 100, 100, 100)), (verified, (400, 120, 120, 120, 120, 120))):
        categories = [prompt.category for prompt in benchmark.prompts()]
        names = ("culture", "time", "space", "biology", "physics", "chemistry")
        assert tuple(categories.count(name) for name in names) == sizes
    assert {source.path for source in legacy.source}.isdisjoint(source.path for source in verified.source)


def test_the_files_of_both_editions_are_known_by_their_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for benchmark in (Wise(), WiseVerified()):
        assert all(len(source.sha256) == 64 for source in benchmark.source)
    files = wise_files(VERIFIED_IDS, "_verified")
    assert not WiseVerified(written(tmp_path, files)).official, "another file than the official one"
    sources = tuple(Source("a/b", "c" * 40, name, sha256(content)) for name, content in files.items())
    monkeypatch.setattr(WiseVerified, "source", sources)
    assert WiseVerified(tmp_path).official, "a local copy of the official files is official"


def test_wise_fetched_with_a_hole_is_refused():
    with pytest.raises(UsageError, match="without the prompt 1000 and 0 others"):
        Wise(fetch=by_name(wise_files([range(1, 401), range(401, 701), range(701, 1000)]))).prompts()


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"nonsense", "not a JSON array"), (b"{}", "not a JSON array"), (b"[7]", "record 1 .* not in WISE's format"),
     (json.dumps([record(1), record(2, Explanation=None)]).encode(), "record 2"),
     (json.dumps([record(1), record(2, prompt_id="x")]).encode(), "record 2"),
     (json.dumps([record(1001)]).encode(), "no prompt 1001"),
     (json.dumps([record(1), record(1, Prompt="other")]).encode(), "the id '1' more than once")],
)  # fmt: skip
def test_wise_files_that_cannot_be(tmp_path, content, says):
    files = wise_files([range(1, 2), range(401, 402), range(701, 702)]) | {f"{STEMS[0]}.json": content}
    with pytest.raises(UsageError, match=says):
        Wise(written(tmp_path, files)).prompts()


# --- all of them


@pytest.mark.parametrize("make", [GenEval, GenEval2, DpgBench, UniGenBench, CompBench, Wise, WiseVerified])
def test_each_is_a_benchmark_whose_sources_are_pinned(make: Callable[[], Benchmark]):
    benchmark = make()
    assert isinstance(benchmark, Benchmark) and benchmark.deviations
    for source in benchmark.source:
        assert 7 <= len(source.commit) <= 40 and len(source.sha256) in (0, 64)
    assert len({source.path for source in benchmark.source}) == len(benchmark.source) in (1, 3, 9)
