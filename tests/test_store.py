"""A run on disk: complete records or none, one writer, one configuration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from milr.runs.config import RunConfig, describe_differences, prompts_digest
from milr.runs.store import RunStore, name_of, read_run
from milr.types import Cost, ModalityInfo, Prompt, Score, UsageError
from milr.workflows.stored import load_run
from outcomes import GREEN, RED, config, outcome, picture, step


@pytest.fixture
def store(tmp_path: Path):
    with RunStore(tmp_path / "run").open(config()) as opened:
        yield opened


def record_path(store: RunStore, prompt: Prompt = RED, sample: int = 0) -> Path:
    return store.folder / "records" / f"{name_of(prompt, sample)}.json"


def make_older(path: Path) -> None:
    """Write a record again as the version before checksums wrote it."""
    content = json.loads(path.read_text())
    del content["checksum"], content["run"]
    for each in content["steps"]:
        del each["picture_sha256"], each["picture_bytes"]
    path.write_text(json.dumps(content))


def test_a_sample_that_no_judge_scored_is_recorded_but_not_finished(tmp_path):
    given_up = outcome(RED, (0.5, None, None, None), stop="judge_failed")
    without_metric = outcome(GREEN, (0.5, 1.0), judged={1: Score.unscored("no connection")})
    judged = outcome(GREEN, (0.5, 1.0), 1, judged={1: Score(0.5)})
    with RunStore(tmp_path).open(config()) as store:
        outcomes = (given_up, without_metric, judged)
        for written in outcomes:
            store.write(written)
        assert [store.finished(written.prompt, written.key.sample) for written in outcomes] == [False, False, True]
        assert [bool(written.unjudged) for written in outcomes] == [True, True, False]
        assert len(store.records()) == 3 and store.record(GREEN, 0).best == 1


# --- what a configuration is


def test_digest_ignores_the_order_of_settings_and_whole_floats_but_not_values():
    same = config(settings={"threshold": 0.9, "steps": 20.0, "learning_rate": 0.03})
    assert same.digest == config().digest
    assert config(settings={"threshold": 0.9, "steps": 21, "learning_rate": 0.03}).digest != config().digest


@pytest.mark.parametrize("field", sorted(set(RunConfig.model_fields) - {"command", "label", "notes", "thresholds"}))
def test_every_field_but_the_command_is_part_of_the_digest_and_described(field):
    old = getattr(config(), field)
    changed = {dict: {"x": 1}, str: "other", int: 99, bool: True}[type(old)]
    assert config(**{field: changed}).digest != config().digest
    assert describe_differences(config(), config(**{field: changed}))


def test_command_and_label_are_labels():
    labelled = config(command="bench", label="mine", notes=("own wording",), thresholds={"color": 0.4})
    assert labelled.digest == config().digest
    assert (labelled.threshold_of("color"), labelled.threshold_of("shape")) == (0.4, 0.9)


def test_digest_is_the_same_in_another_process():
    code = "from outcomes import config; print(config().digest)"
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(["src", "tests"])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True,
                          cwd=Path(__file__).parent.parent)  # fmt: skip
    assert done.stdout.strip() == config().digest


def test_differences_in_words():
    new = config(seed=8, settings={"learning_rate": 0.1, "steps": 20, "l2": 0.5})
    assert describe_differences(config(), new) == [
        "l2: not set there, 0.5 here",
        "learning_rate: 0.03 there, 0.1 here",
        "seed: 7 there, 8 here",
        "threshold: 0.9 there, not set here",
    ]
    assert describe_differences(config(), config()) == []


def test_long_values_that_begin_alike_still_differ():
    differences = describe_differences(config(role_tags="x" * 80), config(role_tags="x" * 79 + "y"))
    assert differences == [f"role_tags: {'x' * 21}... there, another value here"]


def test_a_setting_named_like_a_field_is_not_lost():
    assert config(settings={"seed": 1}).digest != config(settings={"seed": 2}).digest


def test_unusual_settings_survive_the_disk(tmp_path):
    unusual = config(settings={"budget": float("inf"), "range": (0, 1.5), "none": None, "on": True})
    with RunStore(tmp_path).open(unusual) as store:
        assert store.run().config == unusual
        assert describe_differences(store.run().config, unusual) == []


def test_prompts_digest_sees_metadata_and_order():
    changed = Prompt(RED.text, RED.id, RED.category, {"tag": "other"})
    assert len({prompts_digest(p) for p in ([RED, GREEN], [GREEN, RED], [changed, GREEN])}) == 3
    assert prompts_digest([RED]) == prompts_digest([Prompt(RED.text, RED.id, RED.category, {"tag": "position"})])


# --- names


def test_names_are_readable_and_safe():
    name = name_of(RED, 3)
    assert name.startswith("red-star-left-of-blue-circle-") and name.endswith("-3")
    assert "/" not in name_of(Prompt("../../etc/passwd"), 0) and "." not in name_of(Prompt("../../etc/passwd"), 0)
    assert len(name_of(Prompt("word " * 500), 0)) < 80


def test_names_differ_where_prompts_or_samples_differ():
    prompts = [RED, Prompt(RED.text), Prompt("红星"), Prompt("蓝圆"), Prompt("w " * 99), Prompt("w " * 98 + "v ")]
    assert len({name_of(prompt, sample) for prompt in prompts for sample in (0, 1)}) == 12


# --- records


def test_the_counts_of_updates_come_back_from_disk(store):
    counts = [{}, {"text": 3, "image": 0}, {"text": 3, "image": 2}]
    steps = tuple(step(index, 0.5, tokens_by_updates=count) for index, count in enumerate(counts))
    store.write(outcome(steps=steps))
    run = load_run(store.folder)
    (restored,) = run.outcomes
    assert [each.tokens_by_updates for each in restored.steps] == counts
    assert list(run.to_pandas()["tokens_by_updates"]) == [0, 3, 5]


def test_round_trip(store):
    original = outcome(judged={1: Score(0.6, {"colour": 0.6}, "nearly")}, stop="threshold")
    store.write(original)
    (record,) = RunStore(store.folder).records()
    assert (record.prompt, record.seed, record.sample) == (RED, 7, 0)
    assert (record.best, record.returned, record.stop, record.cost) == (1, 1, "threshold", original.cost)
    first, second = record.steps
    assert (first.score, second.score, second.parts, second.reason) == (0.25, 0.75, {"colour": 0.75}, "as asked")
    assert (second.visualisation, second.text_ids, second.image_ids) == ("a star", (5, 6, 1), (9, 8, 1))
    assert (second.text_near_ties, second.image_near_ties) == ((1,), (0, 2))
    assert (first.moved, second.moved) == ((), ("text",))
    assert second.info == {"text": ModalityInfo(-0.5, 2.0, 0.1, 0.25, 1, 4)}
    assert second.cost == Cost(1, 10, 1, 0.5, 0.25)
    assert first.judged is None and second.judged is not None and second.judged.score == 0.6
    with Image.open(store.folder / second.picture) as kept:
        assert kept.tobytes() == picture(11).tobytes()


def test_a_record_without_tokens_is_the_same_but_for_them(store):
    store.write(outcome(judged={1: Score(0.6, {"colour": 0.6}, "nearly")}, stop="threshold"))
    (whole,), (light,) = store.records(), store.records(tokens=False)
    assert [(step.text_ids, step.image_ids) for step in light.steps] == [((), ()), ((), ())]
    assert any(step.text_ids and step.image_ids for step in whole.steps)
    left_out = {"steps": {"__all__": {"text_ids", "image_ids"}}}
    assert light.model_dump() == whole.model_dump(exclude=left_out)
    assert (light.first, light.result, light.unjudged) == (light.steps[0], light.steps[1], whole.unjudged)


def test_unscored_and_bare_prompt_and_non_finite_floats_are_kept(store):
    non_finite = step(
        1, None, None, info={"image": ModalityInfo(float("nan"), float("inf"), 0, 0, 0, 1)}, moved=("image",)
    )
    store.write(outcome(steps=(step(0, None), non_finite), best=None))
    record = store.records()[0]
    assert (record.best, record.steps[1].score, record.steps[1].reason) == (None, None, "no shape found")
    assert record.steps[1].visualisation is None and record.steps[0].visualisation == "a star"
    loss, gradient = record.steps[1].info["image"].loss, record.steps[1].info["image"].gradient_norm
    assert loss != loss and gradient == float("inf")
    text = record_path(store).read_text()
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def test_finished_is_per_prompt_and_sample(store):
    store.write(outcome(sample=1))
    assert store.finished(RED, 1)
    assert not store.finished(RED, 0) and not store.finished(GREEN, 1)


def test_records_come_in_order_of_samples(store):
    for sample in (10, 2, 0):
        store.write(outcome(sample=sample))
    assert [record.sample for record in store.records()] == [0, 2, 10]


def test_records_can_be_sorted_by_the_order_of_the_prompts_file(tmp_path):
    prompts = [Prompt("zebra", "z"), Prompt("apple", "a"), Prompt("mango", "m")]
    with RunStore(tmp_path).open(config(prompts_digest=prompts_digest(prompts)), prompts) as store:
        for prompt, sample in ((prompts[1], 0), (prompts[0], 10), (prompts[2], 0), (prompts[0], 2)):
            store.write(outcome(prompt, sample=sample))
    ordered = [(record.prompt.text, record.sample) for record in RunStore(tmp_path).records_in_prompt_order()]
    assert ordered == [("zebra", 2), ("zebra", 10), ("apple", 0), ("mango", 0)]
    assert [record.prompt.text for record in RunStore(tmp_path).records()] == ["apple", "mango", "zebra", "zebra"]


def test_records_come_in_order_of_numbered_prompts(store):
    for number in (10, 2, 1):
        store.write(outcome(Prompt(f"prompt {number}")))
    assert [record.prompt.text for record in store.records()] == ["prompt 1", "prompt 2", "prompt 10"]


DAMAGES = {
    "half": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "a list": lambda text: "[]",
    "no fields": lambda text: "{}",
    "a step that is not there": lambda text: text.replace('"returned": 1', '"returned": 7'),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_record_counts_as_not_finished_and_is_redone(store, damage):
    store.write(outcome())
    path = record_path(store)
    path.write_text(damage(path.read_text()))
    assert not store.finished(RED, 0) and store.records() == []
    store.write(outcome())
    assert store.finished(RED, 0) and len(store.records()) == 1


@pytest.mark.parametrize(
    "harm", [Path.unlink, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(path.read_bytes()[:-20])]
)
def test_a_record_whose_picture_is_gone_is_not_finished(store, harm):
    store.write(outcome())
    harm(store.folder / store.records()[0].steps[1].picture)
    assert not store.finished(RED, 0)


def test_a_record_of_another_format_is_never_overwritten(store):
    store.write(outcome())
    path = record_path(store)
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(UsageError, match="another version of milr"):
        store.finished(RED, 0)


# --- crashes while writing


def test_a_crash_between_pictures_and_record_leaves_an_unfinished_sample(store, monkeypatch):
    def die(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("milr.runs.sample_files.write_atomically", die)
    with pytest.raises(KeyboardInterrupt):
        store.write(outcome(scores=(0.1, 0.2, 0.3)))
    assert len(list((store.folder / "images").glob("*/*.png"))) == 3
    assert not store.finished(RED, 0) and store.records() == []
    monkeypatch.undo()
    store.write(outcome(scores=(0.1, 0.2)))
    assert store.finished(RED, 0)
    assert len(list((store.folder / "images").glob("*/*.png"))) == 2, "the failed attempt's third picture stayed"


def test_a_crash_before_a_rename_leaves_no_file_of_that_name(store, monkeypatch):
    def die(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("milr.runs.files.os.replace", die)
    with pytest.raises(UsageError, match="No space left on device"):
        store.write(outcome())
    assert [path for path in store.folder.rglob("*") if path.suffix in (".png", ".partial")] == []


def test_rewriting_a_sample_first_deletes_its_record(store, monkeypatch):
    store.write(outcome())
    monkeypatch.setattr("milr.runs.sample_files.write_durably", lambda folder, contents: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.write(outcome())
    assert not store.finished(RED, 0)


def test_leftovers_are_ignored_and_cleaned_up_at_open(store):
    store.write(outcome())
    leftovers = [store.folder / ".run.json.1-1.partial", store.folder / "records" / ".x.json.1-1.partial",
                 (store.folder / store.records()[0].steps[0].picture).parent / ".000.png.1-1.partial"]  # fmt: skip
    for path in leftovers:
        path.write_text("half")
    others = store.folder / "records" / "notes.txt"
    others.write_text("mine")
    assert len(store.records()) == 1
    store.close()
    with RunStore(store.folder).open(config()) as again:
        assert again.finished(RED, 0)
    assert not any(path.exists() for path in leftovers) and others.exists()


# --- one run per folder


def test_run_json_says_what_the_run_is(store):
    run = read_run(store.folder)
    assert run.config == config() and run.digest == config().digest
    assert run.sittings[0].versions["numpy"] and run.sittings[0].machine["cores"]


def test_the_same_configuration_resumes_and_keeps_run_json(store):
    store.write(outcome())
    before = (store.folder / "run.json").read_bytes()
    store.close()
    with RunStore(store.folder).open(config(command="bench")) as again:
        assert again.finished(RED, 0)
    assert (store.folder / "run.json").read_bytes() == before


def test_another_machine_adds_a_work_period(store, monkeypatch):
    store.close()
    monkeypatch.setattr("milr.runs.run_file.platform.platform", lambda: "another system")
    RunStore(store.folder).open(config()).close()
    systems = [period.machine["system"] for period in read_run(store.folder).sittings]
    assert len(systems) == 2 and systems[1] == "another system"


def test_another_configuration_is_refused_with_the_differences_and_changes_nothing(store):
    store.close()
    before = (store.folder / "run.json").read_bytes()
    with pytest.raises(UsageError) as refusal:
        RunStore(store.folder).open(config(settings={"learning_rate": 0.1, "steps": 20, "threshold": 0.9}))
    assert "learning_rate: 0.03 there, 0.1 here" in str(refusal.value) and "--out" in str(refusal.value)
    assert "steps" not in str(refusal.value)
    assert (store.folder / "run.json").read_bytes() == before
    RunStore(store.folder).open(config()).close()  # the refusal released the lock


@pytest.mark.parametrize("content", ["", '{"version": 1, "dig', "[]", '{"version": 1}'])
def test_a_damaged_run_json_is_named(store, content):
    store.close()
    (store.folder / "run.json").write_text(content)
    with pytest.raises(UsageError, match=r"run\.json is damaged"):
        RunStore(store.folder).open(config())


def test_records_of_an_older_version_without_run_json_are_not_adopted(store):
    store.write(outcome())
    store.close()
    make_older(record_path(store))
    (store.folder / "run.json").unlink()
    with pytest.raises(UsageError, match=r"no run\.json"):
        RunStore(store.folder).open(config())


@pytest.mark.parametrize("inside", ["", "run"])
def test_a_file_in_the_place_of_the_folder(tmp_path, inside):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UsageError, match="cannot be written.*--out"):
        RunStore(tmp_path / "taken" / inside).open(config())


def test_reading_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(UsageError, match="holds no run"):
        RunStore(tmp_path / "nowhere").run()
    assert RunStore(tmp_path / "nowhere").records() == [] and not (tmp_path / "nowhere").exists()


# --- one writer


def test_a_second_writer_is_refused_until_the_first_releases_the_lock(store):
    second = RunStore(store.folder)
    with pytest.raises(UsageError, match="written by another process"):
        second.open(config())
    assert store.run().config == config(), "reading needs no lock"
    store.close()
    second.open(config()).close()


def test_the_lock_ends_with_its_process(store):
    store.close()
    code = (
        "import os, sys; from milr.runs.store import RunStore; from outcomes import config\n"
        "kept = RunStore(sys.argv[1]).open(config()); print('open', flush=True); sys.stdin.read(1); os._exit(9)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["src", "tests"])}
    command, root = [sys.executable, "-c", code, str(store.folder)], Path(__file__).parent.parent
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, cwd=root) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(UsageError, match="another process"):
            RunStore(store.folder).open(config())
        other.communicate(b"x")
    assert other.returncode == 9
    RunStore(store.folder).open(config()).close()


@pytest.mark.long
def test_killing_at_any_instant_leaves_whole_records_only(tmp_path):
    """Twelve kills at growing delays: every record is complete, and the same run continues."""
    code = (
        "import sys; from milr.runs.store import RunStore; from outcomes import config, outcome\n"
        "store = RunStore(sys.argv[1]).open(config()); print('open', flush=True); first = len(store.records())\n"
        "[store.write(outcome(scores=(0.1, 0.2, 0.3), sample=number)) for number in range(first, 10_000)]"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["src", "tests"])}
    command, root, count = [sys.executable, "-c", code, str(tmp_path)], Path(__file__).parent.parent, 0
    for attempt in range(12):
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=root) as process:
            assert process.stdout.readline() == b"open\n"
            time.sleep(0.013 * attempt)
            process.kill()
        store = RunStore(tmp_path)
        records = store.records()
        assert len(records) == len(list((tmp_path / "records").glob("*.json"))), "a damaged record"
        assert all(store.finished(RED, number) for number in range(len(records)))
        assert len(records) >= count
        count = len(records)
    assert count > 12
    with RunStore(tmp_path).open(config()):
        assert not list(tmp_path.rglob("*.partial"))


def test_reading_a_run_and_reporting_load_no_torch():
    code = (
        "import sys, milr.runs.store, milr.runs.runner, milr.report.html, milr.report.compare.page\n"
        "import milr.report.compare.comparison, milr.report.changes, milr.runs.layouts, milr.runs.official_pictures\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": "src"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, cwd=Path(__file__).parent.parent)
