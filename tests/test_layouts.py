"""Export into the official folders: names written out by hand, bytes compared, nothing foreign touched."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from milr.runs import sample_files
from milr.runs.layouts import LAYOUTS, ExportTally, export
from milr.runs.store import RunStore
from milr.types import Prompt, UsageError
from outcomes import config, outcome, picture, step

# Spaces and the order of fields that json.dumps would not write.
BENCH_LINE = '{"tag":  "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"}'
BENCH = Prompt("a photo of a bench", source=BENCH_LINE)
COWS = Prompt("a photo of two cows", metadata={"tag": "counting", "include": [{"class": "cow", "count": 2}]})
PENCIL = Prompt("A pencil, 'sharp' & blue.")
CUP = Prompt("a round cup")


class Bench:
    """A run folder whose samples each have three pictures: the second is returned, all differ."""

    def __init__(self, folder: Path, prompts: Sequence[Prompt], samples: int = 1, *, skip: Sequence[int] = ()) -> None:
        self.folder, self.prompts = folder, prompts
        with RunStore(folder).open(config(samples=samples)) as store:
            for number in set(range(len(prompts) * samples)) - set(skip):
                self.make(store, number, samples)

    def make(self, store: RunStore, number: int, samples: int) -> None:
        prompt = self.prompts[number // samples]
        steps = [step(index, score) for index, score in enumerate((0.1, 0.9, 0.5))]
        for each in steps:
            object.__setattr__(each.rollout, "picture", picture(shade(number, each.index)))
        store.write(outcome(prompt, steps=tuple(steps), sample=number % samples))

    def export(self, layout: str, to: Path, **options) -> ExportTally:
        return export(self.folder, self.prompts, RunStore(self.folder).records(), layout=layout, to=to, **options)


def shade(number: int, place: int) -> int:
    return 3 * number + place


def shade_of(path: Path) -> int:
    with Image.open(path) as opened:
        return opened.getpixel((0, 0))[0]


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {name: ((folder / name).read_bytes(), (folder / name).stat().st_mtime_ns) for name in files(folder)}


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "official"


# --- geneval


def test_geneval_by_hand(tmp_path, to):
    tally = Bench(tmp_path / "run", [BENCH, COWS], samples=2).export("geneval", to)
    assert tally == ExportTally(pictures=4, missing=0, folder=to)
    assert files(to) == [
        "00000/metadata.jsonl", "00000/samples/0000.png", "00000/samples/0001.png",
        "00001/metadata.jsonl", "00001/samples/0000.png", "00001/samples/0001.png",
    ]  # fmt: skip
    assert (to / "00000/metadata.jsonl").read_bytes() == BENCH_LINE.encode()
    assert json.loads((to / "00001/metadata.jsonl").read_bytes()) == {
        "tag": "counting", "include": [{"class": "cow", "count": 2}], "prompt": "a photo of two cows",
    }  # fmt: skip
    returned = [shade_of(to / name) for name in files(to) if name.endswith("png")]
    assert returned == [1, 4, 7, 10]  # 3 * number + 1


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\r"])
def test_a_source_is_kept_byte_for_byte_without_its_line_end(tmp_path, to, end):
    line = '{"prompt": "a photo of a café ", "tag":"x",  "more": 1.0} '
    Bench(tmp_path / "run", [Prompt("a photo of a café", source=line + end)]).export("geneval", to)
    assert (to / "00000/metadata.jsonl").read_bytes() == line.encode()


@pytest.mark.parametrize("source", ['{"prompt": "a photo of two cows"}', "a photo of two cows", "[1]"])
def test_a_source_of_another_format_gives_way_to_the_metadata(tmp_path, to, source):
    Bench(tmp_path / "run", [Prompt(COWS.text, metadata=COWS.metadata, source=source)]).export("geneval", to)
    assert json.loads((to / "00000/metadata.jsonl").read_bytes())["tag"] == "counting"


def test_pictures_are_copied_byte_for_byte(tmp_path, to, monkeypatch):
    encode = sample_files._png

    def with_a_note(picture):  # what a re-encoding would lose
        content = encode(picture)
        return content[:33] + b"\0\0\0\4tEXta\0bc" + b"\x8a\x9b\x1e\xf2" + content[33:]

    monkeypatch.setattr(sample_files, "_png", with_a_note)
    bench = Bench(tmp_path / "run", [BENCH])
    kept = bench.folder / RunStore(bench.folder).records()[0].result.picture
    bench.export("geneval", to)
    assert b"tEXta" in kept.read_bytes()
    assert (to / "00000/samples/0000.png").read_bytes() == kept.read_bytes()


def test_positions_are_those_of_the_prompts_given_not_of_names_or_records(tmp_path, to):
    prompts = [Prompt(f"prompt {12 - number}", source=json.dumps({"tag": "t", "prompt": str(number)}))
               for number in range(12)]  # fmt: skip
    Bench(tmp_path / "run", prompts).export("geneval", to)
    assert sorted(path.name for path in to.iterdir()) == [f"{number:05d}" for number in range(12)]
    for number in (0, 2, 9, 10, 11):
        assert json.loads((to / f"{number:05d}/metadata.jsonl").read_text())["prompt"] == str(number)
        assert shade_of(to / f"{number:05d}/samples/0000.png") == shade(number, 1)


@pytest.mark.parametrize("metadata", [None, {}, {"include": []}])
def test_geneval_refuses_a_prompt_it_knows_nothing_of_before_writing(tmp_path, to, metadata):
    with pytest.raises(UsageError, match="the prompt 'a bare cat' has no GenEval metadata.*JSON lines"):
        Bench(tmp_path / "run", [BENCH, Prompt("a bare cat", metadata=metadata)]).export("geneval", to)
    assert not to.exists()


def test_the_same_prompt_twice_has_two_folders(tmp_path, to):
    bench = Bench(tmp_path / "run", [BENCH])
    bench.prompts = [BENCH, BENCH]
    assert bench.export("geneval", to).pictures == 2
    assert shade_of(to / "00001/samples/0000.png") == 1


# --- t2i-compbench


def test_compbench_by_hand(tmp_path, to):
    tally = Bench(tmp_path / "run", [PENCIL, CUP]).export("t2i-compbench", to)
    assert tally == ExportTally(2, 0, to)
    assert files(to) == ["samples/A pencil, 'sharp' & blue._000000.png", "samples/a round cup_000001.png"]


def test_compbench_numbers_ten_samples_in_a_row(tmp_path, to):
    Bench(tmp_path / "run", [PENCIL, CUP], samples=10).export("t2i-compbench", to)
    assert len(files(to)) == 20
    assert shade_of(to / "samples/A pencil, 'sharp' & blue._000009.png") == shade(9, 1)
    assert shade_of(to / "samples/a round cup_000010.png") == shade(10, 1)
    assert shade_of(to / "samples/a round cup_000019.png") == shade(19, 1)


def test_compbench_without_full_stops_as_milr_does(tmp_path, to):
    prompts = [PENCIL, CUP, Prompt("Dr. No waits...")]
    Bench(tmp_path / "run", prompts).export("t2i-compbench", to, keep_stop=False)
    assert files(to) == ["samples/A pencil, 'sharp' & blue_000000.png", "samples/Dr. No waits_000002.png",
                         "samples/a round cup_000001.png"]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "reason"), [("a_b", "contains '_'"), ("1/2 cup", "contains '/'"), ("a\0b", "contains a NUL"),
                       ("é" * 123, "more than 255 bytes")]
)  # fmt: skip
def test_compbench_refuses_what_a_file_name_cannot_hold(tmp_path, to, text, reason):
    with pytest.raises(UsageError, match=f"{reason}.*: (reword|shorten) the prompt"):
        Bench(tmp_path / "run", [CUP, Prompt(text)]).export("t2i-compbench", to)
    assert not to.exists()


def test_the_longest_name_allowed_is_written(tmp_path, to):
    text = "é" * 122  # 244 bytes and "_000000.png": 255
    Bench(tmp_path / "run", [Prompt(text)]).export("t2i-compbench", to)
    assert files(to) == [f"samples/{text}_000000.png"]


# --- wise


def test_wise_by_hand(tmp_path, to):
    tally = Bench(tmp_path / "run", [Prompt("Einstein's instrument", "401"), Prompt("a swan", "7")]).export("wise", to)
    assert tally == ExportTally(2, 0, to)
    assert files(to) == ["401.png", "7.png"]
    assert (shade_of(to / "401.png"), shade_of(to / "7.png")) == (shade(0, 1), shade(1, 1))


@pytest.mark.parametrize("name", ["", "swan", "007", "-1", "1.5", "٣", "7\n"])
def test_wise_refuses_an_id_that_is_no_number(tmp_path, to, name):
    with pytest.raises(UsageError, match="'a swan' has the id .*needs a number"):
        Bench(tmp_path / "run", [Prompt("a swan", name)]).export("wise", to)
    assert not to.exists()


def test_wise_refuses_several_samples(tmp_path, to):
    with pytest.raises(UsageError, match="one picture for each prompt and this run has 2 samples.*--samples 1"):
        Bench(tmp_path / "run", [Prompt("a swan", "7")], samples=2, skip=[1]).export("wise", to)


def test_wise_refuses_two_prompts_of_one_id(tmp_path, to):
    with pytest.raises(UsageError, match=r"several prompts would write 7\.png"):
        Bench(tmp_path / "run", [Prompt("a swan", "7"), Prompt("a duck", "7")]).export("wise", to)


# --- which picture


@pytest.mark.parametrize(("which", "place"), [("first", 0), ("returned", 1), ("last", 2)])
def test_which_picture(tmp_path, to, which, place):
    Bench(tmp_path / "run", [CUP]).export("t2i-compbench", to, picture=which)
    assert shade_of(to / "samples/a round cup_000000.png") == place


@pytest.mark.parametrize(
    ("layout", "message"), [("geneva", "no layout is called 'geneva'; did you mean 'geneval'?"),
                         ("t2icompbench", "no layout is called 't2icompbench'; did you mean 't2i-compbench'?"),
                         ("xyz", "no layout is called 'xyz'; there are geneval, t2i-compbench, wise, geneval2, "
                              "dpg-bench, unigenbench.")]
)  # fmt: skip
def test_an_unknown_layout_is_refused_with_the_nearest(tmp_path, to, layout, message):
    with pytest.raises(UsageError) as refusal:
        Bench(tmp_path / "run", [CUP]).export(layout, to)
    assert str(refusal.value) == message and not to.exists()


def test_an_unknown_picture_is_told_with_the_nearest(tmp_path, to):
    with pytest.raises(UsageError, match="no picture is called 'return'; did you mean 'returned'"):
        Bench(tmp_path / "run", [CUP]).export("t2i-compbench", to, picture="return")


def test_a_folder_that_is_no_run(tmp_path, to):
    with pytest.raises(UsageError, match="holds no run"):
        export(tmp_path / "nowhere", [CUP], [], layout="wise", to=to)


# --- unfinished runs


def test_missing_samples_are_counted_and_the_others_keep_their_numbers(tmp_path, to):
    bench = Bench(tmp_path / "run", [PENCIL, CUP, COWS], samples=2, skip=[1, 2, 3])
    assert bench.export("t2i-compbench", to) == ExportTally(3, 3, to)
    assert files(to) == [
        "samples/A pencil, 'sharp' & blue._000000.png",
        "samples/a photo of two cows_000004.png",
        "samples/a photo of two cows_000005.png",
    ]


def test_a_geneval_prompt_without_pictures_has_no_folder_until_it_has_one(tmp_path, to):
    """The official evaluator stops at a folder without samples."""
    bench = Bench(tmp_path / "run", [BENCH, COWS], skip=[0])
    assert bench.export("geneval", to) == ExportTally(1, 1, to)
    assert files(to) == ["00001/metadata.jsonl", "00001/samples/0000.png"]
    with RunStore(bench.folder).open(config()) as store:
        bench.make(store, 0, 1)
    assert bench.export("geneval", to) == ExportTally(2, 0, to)
    assert len(files(to)) == 4


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-20])])
def test_a_lost_or_cut_picture_is_missing(tmp_path, to, harm):
    bench = Bench(tmp_path / "run", [PENCIL, CUP])
    records = {record.prompt.text: record for record in RunStore(bench.folder).records()}
    harm(bench.folder / records[CUP.text].result.picture)
    assert bench.export("t2i-compbench", to) == ExportTally(1, 1, to)


def test_a_run_without_records(tmp_path, to):
    assert Bench(tmp_path / "run", [CUP], skip=[0]).export("t2i-compbench", to) == ExportTally(0, 1, to)
    assert files(to) == []


# --- the folder that is written


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_export_again_changes_nothing(tmp_path, to, layout):
    bench = Bench(tmp_path / "run", [Prompt(BENCH.text, "3", source=BENCH_LINE)])
    first = bench.export(layout, to)
    before = state(to)
    assert bench.export(layout, to) == first and state(to) == before and before


@pytest.mark.parametrize("writes", range(4))
def test_an_interrupted_export_goes_on(tmp_path, to, monkeypatch, writes):
    bench, done = Bench(tmp_path / "run", [BENCH, COWS]), []

    def stop(count: int, total: int) -> None:
        done.append((count, total))
        if len(done) > writes:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.export("geneval", to, on_progress=stop)
    assert len(files(to)) == writes + 1 and done[-1] == (writes + 1, 4)
    before = state(to)
    assert bench.export("geneval", to) == ExportTally(2, 0, to)
    after = state(to)
    assert len(after) == 4 and {name: after[name] for name in before} == before


def test_half_written_files_of_a_killed_export_are_cleaned_up(tmp_path, to):
    bench = Bench(tmp_path / "run", [PENCIL])
    bench.export("t2i-compbench", to)
    (to / "samples" / ".milr-export-1.partial").write_bytes(b"half")
    bench.export("t2i-compbench", to)
    assert files(to) == ["samples/A pencil, 'sharp' & blue._000000.png"]


def test_dying_before_the_rename_leaves_no_file(tmp_path, to, monkeypatch):
    bench = Bench(tmp_path / "run", [CUP])

    def die(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", die)
    with pytest.raises(UsageError, match="No space left on device.*--to"):
        bench.export("t2i-compbench", to)
    assert files(to) == []


def put_note(to: Path) -> None:
    (to / "notes.txt").write_text("mine")


def put_other_picture(to: Path) -> None:
    (to / "00000" / "samples").mkdir(parents=True)
    (to / "00000" / "samples" / "0000.png").write_bytes(b"mine")


def put_more_samples(to: Path) -> None:
    (to / "00000" / "samples").mkdir(parents=True)
    (to / "00000" / "samples" / "0001.png").write_bytes(b"mine")


def put_half_written_of_another(to: Path) -> None:
    (to / ".notes.txt.1-1.partial").write_text("mine")


def put_file_in_place_of_folder(to: Path) -> None:
    (to / "00000").write_text("mine")


def put_link(to: Path) -> None:
    elsewhere = to.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "own.txt").write_text("mine")
    (to / "00000").symlink_to(elsewhere)


FOREIGN = [put_note, put_other_picture, put_more_samples, put_half_written_of_another, put_file_in_place_of_folder,
           put_link]  # fmt: skip


@pytest.mark.parametrize("put", FOREIGN)
def test_a_folder_with_anything_else_is_refused_and_left_as_it_is(tmp_path, to, put):
    to.mkdir()
    put(to)
    before = state(to) if put is not put_link else state(to.parent / "elsewhere")
    with pytest.raises(UsageError, match="holds .*, which is not what this export writes there.*--to"):
        Bench(tmp_path / "run", [BENCH]).export("geneval", to)
    assert (state(to) if put is not put_link else state(to.parent / "elsewhere")) == before


def test_a_link_to_the_very_picture_is_refused(tmp_path, to):
    bench = Bench(tmp_path / "run", [CUP])
    (to / "samples").mkdir(parents=True)
    kept = bench.folder / RunStore(bench.folder).records()[0].result.picture
    (to / "samples" / "a round cup_000000.png").symlink_to(kept)
    with pytest.raises(UsageError, match="holds samples/a round cup_000000.png"):
        bench.export("t2i-compbench", to)


def test_an_empty_foreign_folder_is_refused(tmp_path, to):
    (to / "00007").mkdir(parents=True)
    with pytest.raises(UsageError, match="holds 00007,"):
        Bench(tmp_path / "run", [BENCH]).export("geneval", to)


def test_another_choice_of_picture_does_not_mix_into_the_same_folder(tmp_path, to):
    bench = Bench(tmp_path / "run", [BENCH])
    bench.export("geneval", to, picture="first")
    with pytest.raises(UsageError, match=r"holds 00000/samples/0000\.png"):
        bench.export("geneval", to)
    assert shade_of(to / "00000/samples/0000.png") == shade(0, 0)


def test_an_empty_folder_is_taken_and_the_run_is_left_as_it_is(tmp_path, to):
    bench = Bench(tmp_path / "run", [BENCH])
    before = state(bench.folder)
    to.mkdir()
    assert bench.export("geneval", to).pictures == 1
    assert state(bench.folder) == before
    shutil.rmtree(to)
    assert state(bench.folder) == before, "the export held links, not copies"


@pytest.mark.parametrize("inside", ["", "deeper"])
def test_a_file_in_the_place_of_the_folder(tmp_path, to, inside):
    to.write_text("a file")
    with pytest.raises(UsageError, match="cannot be written.*--to"):
        Bench(tmp_path / "run", [BENCH]).export("geneval", to / inside)
    assert to.read_text() == "a file"


def test_progress_counts_files_found_as_well(tmp_path, to):
    bench, heard = Bench(tmp_path / "run", [BENCH, COWS]), []
    for _ in range(2):
        bench.export("geneval", to, on_progress=lambda done, total: heard.append((done, total)))
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)] * 2
