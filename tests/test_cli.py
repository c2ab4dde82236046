"""The command line as a user meets it: what is printed, what is written, and one sentence for every mistake."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from milr.models import nano

PROMPT = "a photo of a red star left of a blue circle"
Call = Callable[..., tuple[int, str, str]]  # of the fixture `milr`


def test_generate_writes_picture_report_and_says_where(milr: Call, tmp_path: Path) -> None:
    code, out, _ = milr("generate", PROMPT, "--steps", 1, "--out", "run")
    assert code == 0
    assert "search reward held-out" in out and "(by detector)" in out and "report   run/report.html" in out
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    (picture,) = [line.split()[-1] for line in out.splitlines() if line.startswith("picture")]
    assert (tmp_path / picture).is_file()


def test_json_is_all_that_stdout_holds_and_repeats(milr: Call) -> None:
    code, first, _ = milr(
        "generate", PROMPT, "--steps", 2, "--temperature", 3, "--seed", 3, "--threshold", 1, "--out", "a", "--json"
    )
    assert code == 0
    _, again, _ = milr(
        "generate", PROMPT, "--steps", 2, "--temperature", 3, "--seed", 3, "--threshold", 1, "--out", "b", "--json"
    )
    assert json.loads(first)[0]["steps"] == json.loads(again)[0]["steps"]
    assert len(json.loads(first)[0]["steps"]) == 3
    _, other, _ = milr(
        "generate", PROMPT, "--steps", 2, "--temperature", 3, "--seed", 4, "--threshold", 1, "--out", "c", "--json"
    )
    assert json.loads(first)[0]["steps"] != json.loads(other)[0]["steps"]


def test_the_same_command_shows_a_finished_run(milr: Call, tmp_path: Path) -> None:
    milr("generate", PROMPT, "--steps", 1)
    (folder,) = (tmp_path / "runs").iterdir()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    code, out, _ = milr("generate", PROMPT, "--steps", 1)
    assert code == 0 and "finished" in out
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}


def test_many_prompts_with_samples(milr: Call, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a red star\n\na photo of two hearts\na red star\n")
    code, out, _ = milr("generate", "--prompts", "prompts.txt", "--samples", 2, "--steps", 0, "--out", "many")
    assert code == 0
    assert len(list((tmp_path / "many" / "records").glob("*.json"))) == 4  # two different prompts, two samples
    assert "4 scored of 4" in out


def test_supplied_visualisation_is_used(milr: Call) -> None:
    said = "b1 red star , b3 blue circle : the red star is large and solid"
    code, out, _ = milr("generate", PROMPT, "--visualisation", said, "--steps", 0, "--out", "v", "--json")
    assert code == 0
    assert json.loads(out)[0]["steps"][0]["visualisation"] == said


def test_other_prompts_are_judged_by_the_model_itself(milr: Call) -> None:
    code, out, _ = milr("generate", "a star and a star", "--steps", 0, "--out", "s", "--json")
    assert code == 0
    assert json.loads(out)[0]["reward"] == "self chosen by own" and json.loads(out)[0]["oracle"] is False


def test_a_reward_from_a_file(milr: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def dark(picture, prompt):\n    return 0.25\n")
    code, out, _ = milr("generate", PROMPT, "--reward", "mine.py:dark", "--steps", 1, "--out", "f", "--json")
    assert code == 0
    assert [step["score"] for step in json.loads(out)[0]["steps"]] == [0.25, 0.25]


def test_a_folder_named_like_markup(milr: Call) -> None:
    code, out, _ = milr("generate", "a star", "--steps", 0, "--out", "[red]x")
    assert code == 0 and "report   [red]x/report.html" in out
    assert milr("generate", "a star", "--steps", 0, "--out", "y[/b]")[0] == 0


def test_when_nothing_could_be_judged(milr: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def broken(picture, prompt):\n    raise ValueError('not today')\n")
    code, out, err = milr("generate", "a star", "--reward", "mine.py:broken", "--out", "f", "--json")
    assert code == 4 and "not today" in err.splitlines()[-1]
    assert json.loads(out)[0]["stop"] == "judge_failed"


def test_an_oracle_is_told(milr: Call) -> None:
    _, out, _ = milr("generate", "a star", "--steps", 0, "--reward", "detector", "--out", "a")
    assert "oracle" in out and "judged" not in out
    _, out, _ = milr("generate", "a star", "--steps", 0, "--metric", "held-out", "--out", "b", "--json")
    assert json.loads(out)[0]["oracle"] is True and json.loads(out)[0]["metric"] == "held-out"


def test_who_judges_is_told_by_prompt(milr: Call, tmp_path: Path) -> None:
    (tmp_path / "both.txt").write_text("a star\na star and a star\n")
    _, out, _ = milr("generate", "--prompts", "both.txt", "--steps", 0, "--out", "both", "--json")
    assert [found["judged"] is None for found in json.loads(out)] == [False, True]
    config = json.loads((tmp_path / "both" / "run.json").read_text())["config"]
    assert config["report_metric"] == "detector" and config["oracle"] is False
    milr("generate", "a star and a star", "--steps", 0, "--out", "self", "--json")
    assert json.loads((tmp_path / "self" / "run.json").read_text())["config"]["report_metric"] == ""


def test_an_interrupt_says_how_to_go_on(milr: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **keywords: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("milr.workflows.prepare.prepare", interrupted)
    code, _, err = milr("generate", "a star")
    assert code == 130 and err == "milr: interrupted; the same command goes on from here.\n"


def test_a_missing_package_exits_with_3(milr: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "milr.workflows.doctor", None)
    code, _, err = milr("doctor")
    assert code == 3 and "milr.workflows.doctor" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["generate"], "give one prompt"),
        (["generate", "a star", "--prompts", "x.txt"], "give one prompt"),
        (["generate", "  "], "empty"),
        (["generate", "a star " * 300], "shorten"),
        (["generate", "a dog left of a zebra"], "'dog', 'zebra'"),
        (["generate", "a dog"], "Janus-Pro"),
        (["generate", "a star", "--text-ratio", "0"], "text_ratio"),
        (["generate", "a star", "--image-ratio", "1.5"], "image_ratio"),
        (["generate", "a star", "--image-ratio", "nan"], "image_ratio"),
        (["generate", "a star", "--learning-rate", "nan"], "learning_rate"),
        (["generate", "a star", "--steps", "-1"], "steps"),
        (["generate", "a star", "--seed", "-1"], "seed"),
        (["generate", "a star", "--samples", "0"], "samples"),
        (["generate", "a star", "--threshold", "2"], "threshold"),
        (["generate", "a star", "--temperature", "0"], "temperature"),
        (["generate", "a star", "--method", "latent_reasonin"], "did you mean 'latent_reasoning'"),
        (["generate", "a star", "--reward", "detecter"], "did you mean 'detector'"),
        (["generate", "a star", "--preset", "papper"], "did you mean 'paper'"),
        (["generate", "a star", "--schedule", "jont"], "did you mean 'joint'"),
        (["generate", "a star", "--model", "nanno"], "did you mean 'nano'"),
        (["generate", "a star", "--role-tags", "pip"], "did you mean 'pipe'"),
        (["generate", "a star", "--dtype", "float31"], "float31"),
        (["generate", "a star", "--device", "gpu"], "gpu"),
        (["generate", "a star", "--reasoning-prompt", "think"], "{prompt}"),
        (["generate", "a star", "--visualisation", "a dog"], "dog"),
        (["generate", "a star and a star", "--reward", "detector"], "--reward self"),
        (["generate", "a star", "--reward", "nowhere.py:score"], "nowhere.py"),
        (["generate", "--prompts", "nowhere.txt"], "nowhere.txt"),
        (["generate", "a star", "--steps", "many"], "--steps"),
        (["report", "nowhere"], "nowhere"),
        (["list", "modles"], "did you mean 'models'"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(milr: Call, arguments: list[str], said: str, tmp_path: Path) -> None:
    code, _, err = milr(*arguments)
    assert code == 2, err
    assert said in " ".join(err.replace("│", " ").split())
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()


def test_an_out_that_cannot_be_written(milr: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    code, _, err = milr("generate", "a star", "--out", "file")
    assert code == 2 and "file" in err and err.count("\n") == 1


def test_an_out_that_holds_another_configuration(milr: Call) -> None:
    milr("generate", "a star", "--steps", 0, "--out", "run")
    code, _, err = milr("generate", "a star", "--steps", 0, "--seed", 7, "--out", "run")
    assert code == 2 and "seed" in err and err.count("\n") == 1


def test_missing_and_damaged_weights_exit_with_3(milr: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "weights"
    shutil.copytree(nano.folder(), broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    monkeypatch.setattr(nano, "folder", lambda: broken)
    code, _, err = milr("generate", "a star")
    assert code == 3 and err.count("\n") == 1
    shutil.rmtree(broken)
    code, _, err = milr("generate", "a star")
    assert code == 3 and err.count("\n") == 1


def test_list_and_doctor(milr: Call) -> None:
    code, out, _ = milr("list")
    assert code == 0 and "latent_reasoning" in out and "detector" in out and "Janus-Pro-7B" in out
    code, out, _ = milr("doctor")
    assert code == 0 and "model nano loads" in out


def test_version(milr: Call) -> None:
    from milr import __version__

    assert milr("--version")[1] == f"milr {__version__}\n"


BENCH = ("bench", "shapes", "--split", "development", "--categories", "colors,position", "--limit", 4, "--pictures", 2)


def test_bench_tells_the_cost_before_and_the_scores_after_and_goes_on(milr: Call, tmp_path: Path) -> None:
    code, out, _ = milr(*BENCH, "--method", "redraw_plain", "--out", "a")
    assert code == 0
    assert "4 samples to make, at most 8 pictures" in out and out.index("at most") < out.index("score")
    assert "resample" in out and "oracle" not in out and "scored by detector" in out
    assert (tmp_path / "a" / "compare.html").stat().st_size > 5_000
    _, again, _ = milr(*BENCH, "--method", "redraw_plain", "--out", "a")
    assert "this run is finished" in again


def test_compare_sets_runs_beside_each_other_and_refuses_what_is_not_comparable(milr: Call, tmp_path: Path) -> None:
    for name, flags in (("a", ("--method", "redraw_plain")), ("b", ("--reward", "detector")), ("c", ("--samples", 2))):
        milr(*BENCH, *flags, "--out", name)
    code, out, _ = milr("compare", "a", "b", "--out", "both", "--json")
    assert code == 0 and [row["oracle"] for row in json.loads(out)["rows"]] == [False, True]
    for ending in ("html", "md", "csv", "json"):
        assert (tmp_path / "both" / f"compare.{ending}").is_file()
    assert "(oracle)" in (tmp_path / "both" / "compare.md").read_text()
    code, _, err = milr("compare", "a", "c")
    assert code == 2 and "samples" in err and err.count("\n") == 1
    code, _, err = milr("compare", "a", "nowhere")
    assert code == 2 and "nowhere" in err and err.count("\n") == 1


def test_an_experiment_runs_its_rows_and_compares_them(milr: Call, tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(
        'title = "small"\nbenchmark = "shapes"\nsplit = "development"\ncategories = ["colors"]\nlimit = 2\n'
        'against = "b"\n[base]\nreward = "detector"\npictures = 2\n[rows.a]\nmethod = "redraw_plain"\n[rows.b]\n'
        'method = "frozen"\n'
    )
    code, out, _ = milr("experiment", "small.toml", "--dry")
    assert code == 0 and "4 samples to make" in out and not (tmp_path / "runs").exists()
    code, out, _ = milr("experiment", "small.toml", "--row", "a")
    assert code == 0 and "page" not in out
    code, out, _ = milr("experiment", "small.toml")
    assert code == 0 and "2 samples to make" in out and "page     runs/small/compare.html" in out
    code, _, err = milr("experiment", "nowhere.toml")
    assert code == 2 and err == "milr: cannot read nowhere.toml: No such file or directory.\n"


def test_agreement_of_rewards_is_told(milr: Call, tmp_path: Path) -> None:
    (tmp_path / "agree.toml").write_text(
        'title = "agree"\nbenchmark = "shapes"\nsplit = "development"\ncategories = ["colors"]\nlimit = 3\n'
        'agreement = ["held-out", "noisy:1,1"]\npictures_of = "a"\n[base]\nreward = "detector"\npictures = 2\n'
        'stop = false\n[rows.a]\nmethod = "redraw_plain"\n'
    )
    code, out, _ = milr("experiment", "agree.toml")
    assert code == 0 and "balanced accuracy" in out
    held, noisy = json.loads((tmp_path / "runs" / "agree" / "agreement.json").read_text())
    assert held["reward"] == "held-out" and held["pictures"] == 6
    assert noisy["passed_right"] in (0.0, None) and "NaN" not in json.dumps(noisy)
    _, out, _ = milr("experiment", "agree.toml", "--json")
    assert json.loads(out)[0] == held


def test_export_writes_the_official_layout(milr: Call, tmp_path: Path) -> None:
    milr(*BENCH, "--method", "plain", "--out", "a")
    code, out, _ = milr("export", "a", "--layout", "geneval", "--to", "official")
    assert code == 0 and out.startswith("4 pictures in official")
    assert json.loads((tmp_path / "official" / "00003" / "metadata.jsonl").read_text())["tag"] == "position"
    assert (tmp_path / "official" / "00000" / "samples" / "0000.png").is_file()
    code, _, err = milr("export", "a", "--layout", "genevil", "--to", "other")
    assert code == 2 and "geneval" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("bench", "shape"), "shapes"),
        (("bench", "shapes", "--split", "train"), "development"),
        (("bench", "shapes", "--categories", "colours"), "colors"),
        (("bench", "shapes", "--limit", 0), "at least 1"),
        (("generate", "a star", "--reward", "noisy:x"), "noisy:0.1,0.2"),
        (("generate", "a star", "--metric", "detektor"), "detector"),
        (("generate", "a star", "--no-stop", "--threshold", 0.5), "contradict"),
        (("generate", "a star", "--pictures", 0), "at least 1"),
    ],
)
def test_wrong_flags_are_one_sentence(milr: Call, arguments: tuple[object, ...], says: str) -> None:
    code, _, err = milr(*arguments)
    assert code == 2 and says in err and err.count("\n") == 1


def test_a_budget_of_pictures_is_kept_by_every_method(milr: Call) -> None:
    for method in ("latent_reasoning", "redraw_sampled", "frozen", "random_walk", "plain"):
        _, out, _ = milr("generate", "a star", "--method", method, "--pictures", 2, "--no-stop", "--json", "--out",
                         method)  # fmt: skip
        (found,) = json.loads(out)
        assert len(found["steps"]) == (1 if method == "plain" else 2), method
        assert found["stop"] == "budget"


@pytest.mark.parametrize("error", [
    MemoryError(), RuntimeError("can't start new thread"), RuntimeError("std::bad_alloc"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 331776 bytes."),
    ImportError("_ni_label.so: failed to map segment from shared object"),
])  # fmt: skip
def test_used_up_memory_is_one_sentence(milr: Call, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*arguments: object, **keywords: object) -> None:
        raise error

    monkeypatch.setattr("milr.workflows.prepare.prepare", fail)
    code, _, err = milr("generate", "a red star")
    assert code == 4 and err.count("\n") == 1 and "memory is used up" in err
