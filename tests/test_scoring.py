"""`milr score`: folders in the three official layouts, whole and broken, judged into a run that compare can read."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from milr.base import Benchmark, Reward, Services
from milr.benchmarks.geneval import GenEval
from milr.benchmarks.shapes import Shapes
from milr.benchmarks.t2i_compbench import CATEGORIES, CompBench
from milr.benchmarks.wise import STEMS, Wise
from milr.inputs import pictures
from milr.report.compare.comparison import compare_runs
from milr.report.html import write_report
from milr.rewards.detector import DetectorReward
from milr.rewards.endpoint.wording import Wording
from milr.rewards.self import SelfReward
from milr.rewards.self_json import SelfJsonReward
from milr.runs.config import prompts_digest
from milr.runs.events import SearchFinished
from milr.runs.layouts import export
from milr.runs.official_pictures import find_pictures
from milr.runs.store import RunStore
from milr.types import JudgeError, Prompt, Score, UsageError
from milr.workflows.check_run import check_run
from milr.workflows.scoring import FolderJudge, ScoredFolder, Selection, score_folder, score_list
from outcomes import config, outcome, step
from scripted import Brightness

LINES = [
    {"tag": "colors", "include": [{"class": "cup", "count": 1, "color": "red"}], "prompt": "a photo of a red cup"},
    {"tag": "counting", "include": [{"class": "cow", "count": 2}], "prompt": "a photo of two cows"},
]


class Dim(Brightness):
    """Brightness that fails where the test says so, and counts its calls."""

    def __init__(self, fails: Callable[[int, Image.Image], Score | None] = lambda call, picture: None) -> None:
        self.fails, self.calls = fails, 0

    async def score(
        self, pictures: Sequence[Image.Image], prompts: Sequence[Prompt], services: Services
    ) -> list[Score]:
        self.calls += 1
        failure = self.fails(self.calls, pictures[0])
        return [failure] if failure else await super().score(pictures, prompts, services)


def paint(path: Path, shade: int, mode: str = "RGB", side: int = 6) -> Path:
    """A grey picture of brightness shade / 255."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (shade, shade, shade)).convert(mode).save(path)
    return path


def geneval(tmp_path: Path, lines: Sequence[dict[str, object]] = LINES) -> GenEval:
    path = tmp_path / "evaluation_metadata.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return GenEval(path)


def geneval_folder(folder: Path, samples: int = 2) -> Path:
    """As an official tool leaves it: metadata in another order of fields, a grid, a note."""
    for number, line in enumerate(LINES):
        for sample in range(samples):
            paint(folder / f"{number:05d}/samples/{sample:04d}.png", 100 * number + 10 * sample)
        paint(folder / f"{number:05d}/grid.png", 255)
        (folder / f"{number:05d}/metadata.jsonl").write_text(json.dumps(dict(reversed(line.items()))) + "\n")
    (folder / "results.jsonl").write_text("{}")
    return folder


def compbench(tmp_path: Path) -> CompBench:
    """Two prompts in each category, the first with a full stop."""
    (tmp_path / "prompts").mkdir()
    for name in (*CATEGORIES, "complex_spatial", "complex_action", "complex_spatialaction"):
        stem, _, end = name.partition("complex_")
        path = tmp_path / "prompts" / (f"complex_val_{end}.txt" if end else f"{stem}_val.txt")
        words = name.replace("_", " ")
        path.write_text(f"a {words} cup.\r\nTwo {words} cups, one big")
    return CompBench(tmp_path / "prompts")


def compbench_root(root: Path, prompts: Sequence[Prompt], samples: int, *, keep_stop: bool = True) -> None:
    """The pictures of the prompts, numbered on from 0."""
    for number in range(len(prompts) * samples):
        text = prompts[number // samples].text
        paint(root / f"samples/{text if keep_stop else text.rstrip('.')}_{number:06d}.png", number)


def wise(tmp_path: Path) -> Wise:
    (tmp_path / "prompts").mkdir()
    for stem, number in zip(STEMS, (3, 500, 1000), strict=True):
        records = [{"Prompt": f"prompt {number}", "Explanation": "e", "Subcategory": "s", "prompt_id": number}]
        (tmp_path / "prompts" / f"{stem}.json").write_text(json.dumps(records))
    return Wise(tmp_path / "prompts")


def wise_folder(folder: Path) -> Path:
    for number, shade in ((3, 0), (500, 51), (1000, 255)):
        paint(folder / f"{number}.png", shade)
    (folder / "Results").mkdir()
    return folder


def judge(benchmark: Benchmark, folder: Path, out: Path, metric: Brightness | None = None, **options) -> ScoredFolder:
    """Score a folder; options that `Selection` has are the selection's."""
    fields = {field.name for field in dataclasses.fields(Selection)}
    selection = Selection(**{name: options.pop(name) for name in fields & options.keys()})
    judge = options.pop("judge", None) or FolderJudge(metric or Dim())
    return asyncio.run(score_folder(benchmark, folder, judge, out=out, selection=selection, **options))


def scores(out: Path) -> dict[tuple[str, int], float | None]:
    return {(record.prompt.id, record.sample): record.result.judged.score for record in RunStore(out).records()}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "pictures"


# --- the three layouts


def test_geneval_by_hand(tmp_path, folder, out):
    tally = judge(geneval(tmp_path), geneval_folder(folder), out)
    assert tally == ScoredFolder(pictures=4, found=0, missing=0, samples=2, out=out)
    assert scores(out) == {
        ("geneval-00000", 0): 0, ("geneval-00000", 1): pytest.approx(10 / 255),
        ("geneval-00001", 0): pytest.approx(100 / 255), ("geneval-00001", 1): pytest.approx(110 / 255),
    }  # fmt: skip


def test_a_geneval_folder_is_that_of_its_metadata_as_the_official_tool_reads_it(tmp_path, folder, out):
    geneval_folder(folder)
    (folder / "00000").rename(folder / "00042")
    judge(geneval(tmp_path), folder, out)
    assert scores(out)[("geneval-00000", 1)] == pytest.approx(10 / 255)


def test_compbench_in_a_root_for_each_category(tmp_path, folder, out):
    benchmark = compbench(tmp_path)
    for category in CATEGORIES:
        own = [prompt for prompt in benchmark.prompts() if prompt.category == category]
        compbench_root(folder / category, own, 3)
        (folder / category / "annotation_blip").mkdir()
    tally = judge(benchmark, folder, out)
    assert (tally.pictures, tally.samples) == (36, 3)
    assert {key: round(255 * value) for key, value in scores(out).items()} == {
        (f"{category}-00{number}", sample): 3 * number + sample
        for category in CATEGORIES for number in range(2) for sample in range(3)
    }  # fmt: skip


@pytest.mark.parametrize("samples", [1, 2])
def test_compbench_in_one_root_without_full_stops_as_milr_writes_it(tmp_path, folder, out, samples):
    benchmark = compbench(tmp_path)
    compbench_root(folder, benchmark.prompts(), samples, keep_stop=False)
    assert judge(benchmark, folder, out).samples == samples
    expected = [place for place in range(12 * samples)]
    found = scores(out)
    keys = [(prompt.id, sample) for prompt in benchmark.prompts() for sample in range(samples)]
    assert [round(255 * found[key]) for key in keys] == expected


def test_wise_by_hand(tmp_path, folder, out):
    assert judge(wise(tmp_path), wise_folder(folder), out).pictures == 3
    assert scores(out) == {("3", 0): 0, ("500", 0): pytest.approx(0.2), ("1000", 0): 1}


@pytest.mark.parametrize("layout", ["geneval", "t2i-compbench", "wise"])
def test_what_export_writes_is_read_back(tmp_path, folder, layout):
    prompts = [Prompt(f"prompt {number}.", str(number), metadata={"tag": "t", "include": []}) for number in range(12)]
    samples = 1 if layout == "wise" else 2
    with RunStore(tmp_path / "made").open(config(samples=samples)) as store:
        for prompt in prompts:
            for sample in range(samples):
                store.write(outcome(prompt, sample=sample, steps=(step(0, 0.5),)))
    export(tmp_path / "made", prompts, RunStore(tmp_path / "made").records(), layout=layout, to=folder)
    found = find_pictures(folder, prompts, layout)
    assert {(one.prompt.id, one.sample) for one in found} == {(str(n), s) for n in range(12) for s in range(samples)}


def test_real_pictures_of_the_shapes_world_under_the_real_detector(folder, out):
    """A benchmark that is not one of the official three, in GenEval's layout."""
    benchmark = Shapes("development")
    chosen = benchmark.prompts()[:2]
    for number, prompt in enumerate(chosen):
        path = paint(folder / f"{number:05d}/samples/0000.png", 128, side=64)
        path.parents[1].joinpath("metadata.jsonl").write_text(json.dumps({**prompt.metadata, "prompt": prompt.text}))
    tally = judge(benchmark, folder, out, DetectorReward(), prompts=tuple(chosen))
    assert tally.pictures == 2 and set(scores(out).values()) == {0.0}, "an empty grey picture shows nothing"


# --- the run it makes


def test_the_record_says_only_what_a_folder_can_tell(tmp_path, folder, out):
    judge(geneval(tmp_path), geneval_folder(folder), out, Dim(lambda call, picture: Score(0.5, {"colour": 0.25}, "so")))
    (record, *_), stored = RunStore(out).records(), RunStore(out).run().config
    assert (stored.command, stored.method, stored.model, stored.label) == ("score", "pictures", "folder", "pictures")
    assert (stored.benchmark, stored.report_metric, stored.samples, stored.oracle) == (
        "geneval",
        "brightness",
        2,
        False,
    )
    assert len(record.steps) == 1 and record.result.visualisation is None and record.result.image_ids == ()
    assert (record.result.judged.score, record.result.judged.parts, record.result.judged.reason) == (
        0.5, {"colour": 0.25}, "so")  # fmt: skip
    assert (record.cost.pictures, record.cost.token_steps, record.cost.model_seconds) == (1, 0, 0)
    assert record.cost.reward_calls == 1 and record.cost.reward_seconds > 0
    with Image.open(out / record.result.picture) as kept, Image.open(folder / "00000/samples/0000.png") as given:
        assert kept.tobytes() == given.convert("RGB").tobytes()


def test_compare_and_report_read_it_beside_a_run(tmp_path, folder):
    benchmark = geneval(tmp_path)
    named = FolderJudge(Dim(), "geneval", {"sources": "abc"})
    judge(benchmark, geneval_folder(folder), tmp_path / "scored", judge=named, seed=7)
    own = config(benchmark="geneval", prompts_digest=prompts_digest(benchmark.prompts()), samples=2, prompt_count=2,
                 report_metric="geneval", metric_identity={"sources": "abc"}, reward="self", seed=7)  # fmt: skip
    with RunStore(tmp_path / "searched").open(own) as store:
        for prompt in benchmark.prompts():
            for sample in range(2):
                store.write(outcome(prompt, (0.5, 1.0), sample, judged={0: Score(0.0), 1: Score(1.0)}))
    found = compare_runs([tmp_path / "searched", tmp_path / "scored"])
    searched, scored = found.rows
    assert (scored.name, scored.oracle, scored.budget, scored.method) == (
        "pictures, model folder",
        False,
        1,
        "pictures",
    )
    assert scored.overall.returned.score == pytest.approx((5 + 105) / 255 / 2)  # the mean of the two tasks
    assert scored.overall.paired.pairs == 4 and searched.overall.returned.score == 1
    assert scored.rank == 2 and scored.spent.token_steps == 0
    assert "Pictures of" in write_report(tmp_path / "scored").read_text()
    assert compare_runs([tmp_path / "scored"]).rows[0].overall.returned.n == 4


def test_the_folder_s_path_is_no_part_of_the_run_and_its_bytes_are(tmp_path, folder, out):
    benchmark = geneval(tmp_path)
    judge(benchmark, geneval_folder(folder), out)
    moved, again = folder.rename(tmp_path / "elsewhere"), Dim()
    assert judge(benchmark, moved, out, again) == ScoredFolder(4, 4, 0, 2, out) and again.calls == 0
    paint(moved / "00001/samples/0001.png", 7)
    with pytest.raises(UsageError, match="other settings .*model pictures"):
        judge(benchmark, moved, out)
    paint(moved / "00001/samples/0001.png", 100)
    paint(moved / "00001/samples/0000.png", 110)  # the same pictures, changed places
    with pytest.raises(UsageError, match="other settings .*model pictures"):
        judge(benchmark, moved, out)


# --- failures on the way


@pytest.mark.parametrize("in_flight", [1, 3])
def test_a_scoring_that_was_killed_goes_on_and_ends_the_same(tmp_path, folder, out, in_flight):
    class Killed(BaseException):
        pass

    def die(call: int, picture: Image.Image) -> None:
        if call == 3:
            raise Killed

    benchmark = geneval(tmp_path)
    with pytest.raises(BaseException) as stopped:
        judge(benchmark, geneval_folder(folder), out, Dim(die), in_flight=in_flight)
    assert stopped.type is Killed or isinstance(stopped.value, JudgeError) and "Killed" in str(stopped.value)
    before = scores(out)
    assert len(before) < 4
    second = Dim()
    tally = judge(benchmark, folder, out, second, in_flight=in_flight)
    assert second.calls == 4 - len(before) == tally.pictures - tally.found
    judge(benchmark, folder, tmp_path / "whole")
    assert scores(out) == scores(tmp_path / "whole") and before.items() <= scores(out).items()


def test_a_reward_that_breaks_ends_the_scoring_and_loses_nothing(tmp_path, folder, out):
    def broken(call: int, picture: Image.Image) -> None:
        if call == 3:
            raise ZeroDivisionError("a bug")

    benchmark = geneval(tmp_path)
    with pytest.raises(JudgeError, match="brightness broke .*a bug"):
        judge(benchmark, geneval_folder(folder), out, Dim(broken), in_flight=1)
    assert len(scores(out)) == 2
    assert judge(benchmark, folder, out).found == 2


def test_a_judge_that_fails_or_an_impossible_score_is_unscored_with_its_reason(tmp_path, folder, out):
    def some(call: int, picture: Image.Image) -> Score | None:
        if call == 1:
            raise JudgeError("no answer")
        return {2: Score(1.5), 3: Score.unscored("6 x 6 pixels are too few")}.get(call)

    assert judge(geneval(tmp_path), geneval_folder(folder), out, Dim(some), in_flight=1).pictures == 4
    records = RunStore(out).records()
    reasons = sorted(record.result.judged.reason for record in records if record.best is None)
    assert reasons == ["6 x 6 pixels are too few", "brightness gave 1.5, and scores are numbers in [0, 1]", "no answer"]
    (row,) = compare_runs([out]).rows
    assert (row.overall.returned.scored, row.overall.returned.n) == (1, 4)


@pytest.mark.parametrize(
    "asks", [SelfReward(lambda text: f"Is this {text}?"), SelfJsonReward(Wording("Is this {prompt}?"))]
)
def test_a_reward_that_asks_the_model_is_refused_even_where_it_would_call_that_unscored(tmp_path, folder, out, asks):
    with pytest.raises(UsageError, match=f"the metric {asks.name} asks the model that drew"):
        judge(geneval(tmp_path), geneval_folder(folder), out, asks)
    assert scores(out) == {}


def test_several_pictures_are_judged_at_a_time(tmp_path, folder, out):
    class Slow(Dim):
        running = most = 0

        async def score(self, pictures, prompts, services) -> list[Score]:
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(0.05)
            self.running -= 1
            return await super().score(pictures, prompts, services)

    slow = Slow()
    judge(geneval(tmp_path), geneval_folder(folder, samples=3), out, slow, in_flight=2)
    assert slow.most == 2


# --- what is wrong with a folder is reported before the first judgement


def refused(benchmark: Benchmark, folder: Path, out: Path, says: str, **options) -> None:
    metric = Dim()
    with pytest.raises(UsageError, match=says):
        judge(benchmark, folder, out, metric, **options)
    assert metric.calls == 0 and not out.exists()


def test_a_hole(tmp_path, folder, out):
    benchmark = geneval(tmp_path)
    (geneval_folder(folder) / "00001/samples/0000.png").unlink()
    refused(benchmark, folder, out, "lacks 1 of 4 pictures, .* sample 0 of 'a photo of two cows': .*--partial")
    tally = judge(benchmark, folder, out, partial=True)
    assert (tally.pictures, tally.missing) == (3, 1) and ("geneval-00001", 0) not in scores(out)
    with pytest.raises(UsageError, match="lacks 1 of 4 samples"):
        compare_runs([out])
    assert compare_runs([out], partial=True).searches == 3


def test_fewer_samples_than_asked_for_are_holes_and_more_are_an_error(tmp_path, folder, out):
    benchmark = geneval(tmp_path)
    geneval_folder(folder)
    refused(benchmark, folder, out, "lacks 4 of 8 pictures, .* sample 2 of", samples=4)
    refused(benchmark, folder, out, r"0001\.png is sample 1 and 1 are asked for", samples=1)


@pytest.mark.parametrize("harm", [lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"not a picture"),
                                  lambda path: path.write_bytes(path.read_bytes()[:-30])])  # fmt: skip
def test_a_picture_that_cannot_be_read(tmp_path, folder, out, harm):
    benchmark = geneval(tmp_path)
    path = geneval_folder(folder) / "00000/samples/0001.png"
    paint(path, 10, side=64)
    harm(path)
    refused(benchmark, folder, out, r"0001\.png cannot be read as a picture \(.*Error\): .*--partial")
    tally = judge(benchmark, folder, out, partial=True)
    assert (tally.pictures, tally.missing) == (3, 1)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_pictures_of_every_mode_are_judged_in_colour(tmp_path, folder, out, mode):
    modes = []
    paint(geneval_folder(folder) / "00000/samples/0000.png", 255, mode)
    judge(geneval(tmp_path), folder, out, Dim(lambda call, picture: modes.append(picture.mode)))
    assert set(modes) == {"RGB"} and scores(out)[("geneval-00000", 0)] == 1


@pytest.mark.parametrize(
    "line", ["", "nonsense", json.dumps({**LINES[0], "tag": "position"}), json.dumps({"prompt": LINES[0]["prompt"]})]
)
def test_metadata_of_another_prompt(tmp_path, folder, out, line):
    (geneval_folder(folder) / "00000/metadata.jsonl").write_text(line)
    refused(geneval(tmp_path), folder, out, "00000/metadata.jsonl is no line of the benchmark.*--prompts", partial=True)


def test_metadata_that_is_absent_or_stands_twice(tmp_path, folder, out):
    benchmark = geneval(tmp_path)
    path = geneval_folder(folder) / "00000/metadata.jsonl"
    path.write_text(json.dumps(LINES[1]))
    refused(benchmark, folder, out, "are the same sample of 'a photo of two cows'", partial=True)
    path.unlink()
    refused(benchmark, folder, out, "00000 has no metadata.jsonl", partial=True)


@pytest.mark.parametrize("name", ["0000.png", "00000/samples/x.jpg", "00001/samples/a photo.png"])
def test_a_foreign_picture_in_geneval(tmp_path, folder, out, name):
    paint(geneval_folder(folder) / name, 0)
    refused(geneval(tmp_path), folder, out, "is no picture of this benchmark.*move it away", partial=True)


@pytest.mark.parametrize(
    "name",
    ["color/samples/a shape cup._000000.png", "color/samples/a color cup.jpg", "samples/a dog_000000.png",
     "color/samples/a color cup..png"],
)  # fmt: skip
def test_a_foreign_picture_in_compbench(tmp_path, folder, out, name):
    benchmark = compbench(tmp_path)
    compbench_root(folder / "color", [prompt for prompt in benchmark.prompts() if prompt.category == "color"], 1)
    paint(folder / name, 0)
    refused(benchmark, folder, out, "is no picture of this benchmark.*<prompt>_000000.png", partial=True)


def test_compbench_numbers_that_belong_to_several_prompts(tmp_path, folder, out):
    benchmark = compbench(tmp_path)
    paint(folder / "color/samples/a color cup._000000.png", 0)
    paint(folder / "color/samples/a color cup._000002.png", 0)
    refused(benchmark, folder, out, "not by their numbers with --samples 2", partial=True)
    assert judge(benchmark, folder, out, partial=True, samples=10).missing == 118


@pytest.mark.parametrize("name", ["4.png", "03.png", "4.jpg", "grid.png"])
def test_a_foreign_picture_in_wise(tmp_path, folder, out, name):
    paint(wise_folder(folder) / name, 0)
    refused(wise(tmp_path), folder, out, "is no picture of this benchmark.*<prompt_id>.png", partial=True)


def test_a_folder_that_is_not_there_or_has_nothing(tmp_path, folder, out):
    benchmark = wise(tmp_path)
    refused(benchmark, folder, out, "there is no folder")
    folder.mkdir()
    refused(benchmark, folder, out, "holds no picture of these prompts in layout wise", partial=True)


def test_a_benchmark_without_a_layout(tmp_path, folder, out):
    benchmark = wise(tmp_path)
    benchmark.layout = ""
    refused(benchmark, wise_folder(folder), out, "no official layout")


def test_only_some_prompts(tmp_path, folder, out):
    """The pictures of the other prompts are neither foreign nor judged."""
    benchmark = wise(tmp_path)
    tally = judge(benchmark, wise_folder(folder), out, prompts=tuple(benchmark.prompts()[1:]))
    assert tally.missing == 0 and set(scores(out)) == {("500", 0), ("1000", 0)}


def test_progress_of_the_check_and_of_the_judging(tmp_path, folder, out):
    checked, events = [], []
    judge(wise(tmp_path), wise_folder(folder), out, on_checked=lambda *counts: checked.append(counts),
          listener=events.append)  # fmt: skip
    assert checked == [(1, 3), (2, 3), (3, 3)] and [
        (event.done, event.total) for event in events if isinstance(event, SearchFinished)
    ] == [(1, 3), (2, 3), (3, 3)]


# --- folders as other tools leave them


def test_only_what_the_official_evaluator_reads_of_geneval_s_metadata_counts(tmp_path, folder, out):
    geneval_folder(folder)
    for number, line in enumerate(LINES):
        extra = {**line, "exclude": [], "index": number, "id": f"x{number}", "seed": None}
        (folder / f"{number:05d}/metadata.jsonl").write_text(json.dumps(extra, indent=1))
    assert judge(geneval(tmp_path), folder, out).pictures == 4
    excluding = {**LINES[0], "exclude": [{"class": "cow", "count": 1}]}
    (folder / "00000/metadata.jsonl").write_text(json.dumps(excluding))
    refused(geneval(tmp_path), folder, tmp_path / "other", "is no line of the benchmark")


def test_pictures_of_any_ending_in_any_case(tmp_path, folder, out):
    benchmark = geneval(tmp_path)
    for number, line in enumerate(LINES):
        paint(folder / f"{number:05d}/samples/0.JPG", 200)
        paint(folder / f"{number:05d}/samples/00001.webp", 200)
        (folder / f"{number:05d}/metadata.jsonl").write_text(json.dumps(line))
    assert judge(benchmark, folder, out).pictures == 4
    paint(folder / "00000/samples/1.png", 0)
    refused(benchmark, folder, tmp_path / "other", "are the same sample of")


def test_wise_pictures_of_any_ending(tmp_path, folder, out):
    for number in (3, 500, 1000):
        paint(folder / f"{number}.Jpeg", 0)
    assert judge(wise(tmp_path), folder, out).pictures == 3


@pytest.mark.parametrize("start", [0, 1])
def test_compbench_folders_of_other_tools(tmp_path, folder, out, start):
    """Categories in capitals, JPEG, and numbers that restart for each prompt."""
    benchmark = compbench(tmp_path)
    for prompt in benchmark.prompts():
        inner = "" if prompt.category == "shape" else "samples/"
        category = prompt.category.capitalize().replace("_", "-")
        for sample in range(2):
            paint(folder / f"{category}/{inner}{prompt.text}_{start + sample:06d}.JPG", 10 * sample)
    tally = judge(benchmark, folder, out)
    assert (tally.pictures, tally.samples) == (24, 2)
    assert {sample for _, sample in scores(out)} == {0, 1}


@pytest.mark.parametrize("name", ["numeracy", "3d_spatial", "Numeracy", "my_own"])
def test_a_folder_of_another_category_is_named(tmp_path, folder, out, name):
    benchmark = compbench(tmp_path)
    compbench_root(folder / "color", [prompt for prompt in benchmark.prompts() if prompt.category == "color"], 1)
    paint(folder / name / "samples/three cups_000000.png", 0)
    refused(benchmark, folder, out, f"{name} is of no category of this benchmark, which has color, ", partial=True)


@pytest.mark.parametrize("numbers", [(3,), (3, 500, 1000)])
def test_wise_in_one_file(tmp_path, folder, numbers):
    records = [{"Prompt": f"prompt {number}", "Explanation": "e", "Subcategory": "s", "prompt_id": number}
               for number in numbers]  # fmt: skip
    path = tmp_path / "natural_science.json"
    path.write_text(json.dumps(records))
    assert [prompt.id for prompt in Wise(path).prompts()] == [str(number) for number in numbers]
    with pytest.raises(UsageError, match=r"none\.json cannot be read \(No such file or directory\): name a folder or"):
        Wise(tmp_path / "none.json").prompts()
    path.write_text("[" * 100_000)
    with pytest.raises(UsageError, match="natural_science.json is not a JSON array .*nested deeper"):
        Wise(path).prompts()


def test_geneval_prompts_that_each_stand_four_times_are_four_samples(tmp_path, folder, out):
    benchmark = geneval(tmp_path, [line for line in LINES for _ in range(4)])
    assert len(benchmark.prompts()) == 2 and benchmark.repeats == 4
    assert [prompt.id for prompt in benchmark.prompts()] == ["geneval-00000", "geneval-00001"]
    for number in range(8):
        paint(folder / f"{number:05d}/samples/0000.png", 10 * number)
        (folder / f"{number:05d}/metadata.jsonl").write_text(json.dumps(LINES[number // 4]))
    tally = judge(benchmark, folder, out)
    assert (tally.pictures, tally.samples) == (8, 4)
    assert {key: round(255 * value) for key, value in scores(out).items()} == {
        (f"geneval-0000{number // 4}", number % 4): 10 * number for number in range(8)
    }
    with pytest.raises(UsageError, match="more than once"):
        geneval(tmp_path, [LINES[0], *LINES]).prompts()


@pytest.mark.parametrize("name", ["999999999999999999.png", "9" * 200 + ".png", "99999999.png"])
def test_numbers_in_names_have_a_limit(tmp_path, folder, out, name):
    paint(geneval_folder(folder) / "00000/samples" / name, 0)
    refused(geneval(tmp_path), folder, out, "number the pictures from 0", partial=True)
    refused(geneval(tmp_path), folder, out, "--samples lies between 1 and 10000", samples=10**11)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_picture_that_is_no_file_is_refused_at_once(tmp_path, folder, out, kind):
    path = geneval_folder(folder) / "00000/samples/0000.png"
    path.unlink()
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    refused(geneval(tmp_path), folder, out, f"0000.png is a {kind}, not a file")
    metadata = folder / "00001/metadata.jsonl"
    metadata.unlink()
    os.mkfifo(metadata) if kind == "pipe" else metadata.symlink_to("/dev/zero")
    refused(geneval(tmp_path), folder, out, f"metadata.jsonl is a {kind}, not a file")


def test_pictures_have_limits_of_bytes_and_pixels(tmp_path, folder, out, monkeypatch):
    geneval_folder(folder)
    monkeypatch.setattr(pictures, "MAX_PIXELS", 35)
    refused(geneval(tmp_path), folder, out, "has 6 x 6 pixels, and at most 35 are read")
    monkeypatch.setattr(pictures, "MAX_BYTES", 10)
    refused(geneval(tmp_path), folder, out, "has more than 10 bytes")


def test_a_judge_of_nano_s_world_takes_clauses_that_a_prompt_brings(tmp_path, folder, out):
    star = {"tag": "t", "include": [{"class": "star", "count": 1}], "prompt": "a crimson star"}
    paint(folder / "00000/samples/0000.png", 128, side=64)
    (folder / "00000/metadata.jsonl").write_text(json.dumps(star))
    assert judge(geneval(tmp_path, [star]), folder, out, DetectorReward()).pictures == 1
    refused_metric = FolderJudge(DetectorReward())
    with pytest.raises(UsageError, match="knows the world shapes alone"):
        judge(geneval(tmp_path), geneval_folder(tmp_path / "cups"), tmp_path / "o", judge=refused_metric)


# --- a list of pictures


def listed(file: Path, out: Path, metric: Reward | None = None, **selection) -> ScoredFolder:
    return asyncio.run(score_list(file, FolderJudge(metric or Dim()), out=out, selection=Selection(**selection)))


def picture_list(folder: Path) -> Path:
    for number in range(3):
        paint(folder / f"pictures/{number}.PNG", 51 * number)
    rows = [("pictures/0.PNG", "a cat"), (str(folder / "pictures/1.PNG"), "a dog"), ("pictures/2.PNG", "a cat")]
    file = folder / "list.csv"
    file.write_text("prompt,path\n" + "".join(f"{prompt},{path}\n" for path, prompt in rows))
    (folder / "list.jsonl").write_text("\n".join(json.dumps({"image": path, "text": text}) for path, text in rows))
    return file


def test_a_list_of_unequal_prompts_is_whole_when_all_its_pictures_are(tmp_path, folder, out, milr):
    file = picture_list(folder)  # a cat twice, a dog once
    listed(file, out)
    assert RunStore(out).run().planned == 3 and check_run(out).samples == 3
    assert not [note for note in compare_runs([out], partial=True).notes if "Partial" in note]
    assert compare_runs([out]).searches == 3 and "unfinished" not in write_report(out).read_text()
    (folder / "pictures/2.PNG").write_bytes(b"no picture")
    part = tmp_path / "part"
    listed(file, part, partial=True)
    assert "Partial: 2 of the 3 samples" in " ".join(compare_runs([part], partial=True).notes)
    assert "2 of 3 pictures" in write_report(part).read_text()


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl"])
def test_a_list_of_pictures_is_scored_by_any_reward_and_resumes(tmp_path, folder, out, name):
    file = picture_list(folder).with_name(name)
    assert listed(file, out) == ScoredFolder(pictures=3, found=0, missing=0, samples=2, out=out)
    found = {(record.prompt.text, record.sample): record.result.judged.score for record in RunStore(out).records()}
    assert found == {("a cat", 0): 0, ("a dog", 0): pytest.approx(0.2), ("a cat", 1): pytest.approx(0.4)}
    again = Dim()
    assert listed(file, out, again).found == 3 and again.calls == 0
    assert RunStore(out).run().config.benchmark == "list"
    paint(folder / "pictures/0.PNG", 9)
    with pytest.raises(UsageError, match="other settings .*model pictures"):
        listed(file, out)


def test_prompts_of_a_list_are_completed_for_the_judges_of_nano_s_world(folder, out):
    file = picture_list(folder)
    paint(folder / "pictures/0.PNG", 128, side=64)
    file.write_text("path,prompt\npictures/0.PNG,a red star\n")
    assert listed(file, out, DetectorReward()).pictures == 1
    assert RunStore(out).prompts()[0].category == "colors"
    file.write_text("path,prompt\npictures/0.PNG,a cat\n")
    with pytest.raises(UsageError, match="knows the world shapes alone, and 'a cat' is none"):
        listed(file, out.with_name("other"), DetectorReward())


@pytest.mark.parametrize("rows, says", [
    ("path,prompt\n,a cat\npictures/0.PNG,\n", "line 2: no path of a picture in a field \"path\"; line 3: the prompt"),
    ("prompt\na cat\n", "line 2: no path of a picture"), ("a cat\na dog\n", "a table without"), ("", "lists no pict"),
    ("path,words\na.png,a cat\n", "a table without"), ("path,prompt\nnone.png,a cat\n", "cannot read .*none.png"),
    ("path,prompt\n.,a cat\n", "is a folder, not a file"), ("path,prompt\nlist.csv,a cat\n", "cannot be read as a pic"),
])  # fmt: skip
def test_a_list_that_cannot_be_read(folder, out, rows, says):
    file = picture_list(folder)
    file.write_text(rows)
    with pytest.raises(UsageError, match=says):
        listed(file, out)
    assert not out.exists()


def test_unreadable_pictures_of_a_list_are_left_out_only_if_allowed(folder, out):
    file = picture_list(folder)
    (folder / "pictures/1.PNG").write_bytes(b"no picture")
    with pytest.raises(UsageError, match="cannot be read as a picture"):
        listed(file, out)
    assert listed(file, out, partial=True).missing == 1
