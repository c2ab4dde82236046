"""The official benchmarks over the command line, from prompts to table, on small random networks of the real classes,
a judge on loopback, and prompt files of ours; and one sentence for what goes wrong."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import official_files
from chat_server import ChatServer, fails, on_loopback, says, serving
from milr import catalog
from milr.models.janus import JanusModel
from milr.options import Options
from milr.rewards.endpoint.wording import Wording
from milr.rewards.geneval import DEVIATIONS as GENEVAL_DEVIATIONS
from milr.rewards.t2i_compbench import DEVIATIONS as COMPBENCH_DEVIATIONS
from milr.rewards.vision import pinned
from milr.runs.store import Record, RunStore
from milr.workflows.experiments import read_experiment
from milr.workflows.prepare import prepare

Milr = Callable[..., tuple[int, str, str]]
MARKS = says("Consistency: 2\nRealism: 1\nAesthetic Quality: 0")  # a WiScore of 0.8
BROKEN = fails(500, "out of memory", retry_after="0")


class Runs:
    """`milr bench` on the tiny Janus and a small prompt file: `of("geneval", "--steps", 1)`."""

    def __init__(self, milr: Milr, janus: Path, folder: Path) -> None:
        self.milr, self.janus, self.files = milr, janus, official_files.write_all(folder)

    def of(self, benchmark: str, *more: object) -> tuple[int, str, str]:
        command = ("bench", benchmark, "--prompts", self.files[benchmark], "--model", self.janus)
        return self.milr(*command, "--method", "latent_reasoning", *more)


@pytest.fixture
def runs(milr: Milr, hub: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    on_loopback(monkeypatch, tmp_path / "no certificates")
    monkeypatch.setenv("MILR_CACHE", str(tmp_path / "cache"))
    for name in ("OPENAI_API_KEY", "JUDGE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return Runs(milr, tiny_folder, tmp_path / "prompts")


def records(folder: str) -> dict[str, Record]:
    return {record.prompt.id: record for record in RunStore(folder).records()}


def state(folder: str | Path) -> dict[str, tuple[bytes, int]]:
    kept = (path for name in ("records", "images") for path in (Path(folder) / name).rglob("*") if path.is_file())
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in kept}


def scores(folder: str) -> dict[str, float | None]:
    return {name: (record.result.judged or record.result).score for name, record in records(folder).items()}


def asked_at(server: ChatServer) -> Sequence[object]:
    return ("--judge-url", server.url, "--judge-model", "some-judge")


# --- GenEval


def test_geneval_from_prompts_to_table_to_the_official_folder_and_back(runs: Runs) -> None:
    command = ("--reward", "geneval", "--limit", 2, "--steps", 1, "--out", "run")
    code, out, _ = runs.of("geneval", *command)
    assert code == 0 and "2 samples to make, at most 4 pictures" in out
    assert "latent_reasoning (oracle)" in out and "scored by geneval" in out
    assert all(f"{told}\n" in out for told in GENEVAL_DEVIATIONS)
    assert "not known to be the official prompts" in out and "scored of" not in out
    kept, found = state("run"), records("run")
    assert scores("run") == {"geneval-00000": 1.0, "geneval-00003": 0.0}  # the detector sees a bus anywhere
    assert found["geneval-00000"].stop == "threshold" and found["geneval-00000"].result.parts == {"bus found": 1.0}
    assert len(found["geneval-00003"].steps) == 2
    assert "expected color red of bus" in found["geneval-00003"].result.reason

    code, out, err = runs.of("geneval", *command, "--json")
    assert code == 0 and "0 samples to make" in err and state("run") == kept
    assert json.loads(out)["rows"][0]["overall"]["returned"]["score"] == 0.5

    assert runs.milr("export", "run", "--layout", "geneval", "--to", "official")[0] == 0
    line = runs.files["geneval"].read_text().splitlines()[3]
    assert Path("official/00001/metadata.jsonl").read_text().rstrip("\n") == line
    score = ("score", "geneval", "official", "--prompts", runs.files["geneval"], "--limit", 2, "--out", "scored")
    code, out, _ = runs.milr(*score)
    assert code == 0 and GENEVAL_DEVIATIONS[0] in out and scores("scored") == scores("run")
    assert runs.milr("compare", "run", "scored")[0] == 0


def test_the_search_reward_s_wording_is_told_beside_the_metric_s_deviations(runs: Runs) -> None:
    with serving(says("Final Score: 3")) as server:
        reward = "weighted:mixed=1,self:json=1"
        command = ("--reward", reward, "--method", "plain", "--limit", 1, "--out", "run", *asked_at(server))
        code, out, _ = runs.of("geneval", *command)
    assert code == 0 and "oracle" not in out
    said = f"The search reward {reward}: "
    told = [line.removeprefix(said) for line in out.splitlines() if line.startswith(said)]
    assert told[0].startswith("MixedReward reads the benchmark's clauses")
    assert told[1:] == [f"Wording of {name}: {Wording.load(name.split(':')[0]).label}."
                        for name in ("unified", "self:json")]  # fmt: skip


def test_a_picture_of_any_size_is_judged(runs: Runs) -> None:
    runs.of("geneval", "--method", "plain", "--reward", "self", "--metric", "clip", "--limit", 2, "--out", "run")
    runs.milr("export", "run", "--layout", "geneval", "--to", "official")
    Image.new("RGBA", (1, 1), (255, 0, 0, 9)).save("official/00000/samples/0000.png")
    Image.new("L", (3, 90), 7).save("official/00001/samples/0000.png")
    code, out, err = runs.milr("score", "geneval", "official", "--prompts", runs.files["geneval"], "--limit", 2)
    assert code == 0 and "scored of" not in out, err


# --- T2I-CompBench


def test_t2i_compbench_judges_each_category_by_its_own_rule(runs: Runs) -> None:
    command = ("--reward", "self", "--steps", 1, "--out", "run")
    code, out, _ = runs.of("t2i-compbench", *command)
    assert code == 0 and "6 prompts of t2i-compbench" in out and "oracle" not in out
    assert all(f"{told}\n" in out for told in COMPBENCH_DEVIATIONS)
    kept, found = state("run"), records("run")
    parts = {name.removesuffix("-000"): record.result.judged.parts for name, record in found.items()}
    assert parts["color"].keys() == {"a red star?", "a blue circle?"}
    assert parts["shape"].keys() == {"a big square?", "a small star?"}
    assert parts["texture"].keys() == {"the green circle?", "the plan?"}
    assert parts["spatial"].keys() >= {"star found", "square found"}
    assert parts["non_spatial"] == {} and parts["complex"].keys() == {"attribute", "spatial"}
    red, blue = (round(answer, 4) for answer in parts["color"].values())
    assert found["color-000"].result.judged.score == pytest.approx(red * blue, abs=5e-5)
    assert found["complex-000"].result.judged.score == pytest.approx(sum(parts["complex"].values()) / 2)
    assert all(0 <= score <= 1 for score in scores("run").values())

    assert runs.of("t2i-compbench", *command)[0] == 0 and state("run") == kept
    assert runs.milr("export", "run", "--layout", "t2i-compbench", "--to", "official")[0] == 0
    assert Path("official/samples/a red star and a blue circle._000000.png").is_file()
    files = runs.files["t2i-compbench"]
    code, _, err = runs.milr("score", "t2i-compbench", "official", "--prompts", files, "--out", "scored")
    assert code == 0, err
    assert scores("scored") == scores("run")


def test_a_search_stops_above_its_category_s_own_threshold(runs: Runs, tiny: JanusModel) -> None:
    prompts = catalog.make_benchmark("t2i-compbench", prompts=runs.files["t2i-compbench"]).prompts()

    def above(reward: str, **options: Any) -> dict[str, float | None]:
        prepared = prepare(
            prompts, Options(reward=reward, metric="clip", method="latent_reasoning", **options), model=tiny
        )
        return {prompt.category: prepared.threshold_for(prompt) for prompt in prepared.prompts}

    own = {"color": 0.9, "shape": 0.9, "texture": 0.9, "spatial": 0.9, "non_spatial": 0.35, "complex": 0.4}
    assert above("t2i-compbench") == own
    assert above("t2i-compbench", threshold=0.7) == dict.fromkeys(own, 0.7)
    assert above("t2i-compbench", stop=False) == dict.fromkeys(own)
    assert above("clip") == dict.fromkeys(own, 0.35)


# --- WISE


def test_wise_with_a_judge_on_loopback_and_from_its_own_pictures(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-for-openai-alone")
    monkeypatch.setenv("JUDGE_API_KEY", "sk-secret-of-the-user")
    command = ("--method", "plain", "--reward", "self", "--out", "run")
    with serving(MARKS) as server:
        code, out, _ = runs.of("wise", *command, *asked_at(server))
        assert code == 0 and len(server.requests) == 6
        assert set(server.keys) == {"Bearer sk-secret-of-the-user"}
        assert "994 of wise's 1000 prompts are not compared (the first is 1), and without them it has no overall" in out
        assert f"Wording of wise: {Wording.load('wise').label}.\n" in out
        assert f"Wording of wise: {Wording.load('wise').label}." in Path("run/compare.md").read_text()
        told = json.loads(Path("run/compare.json").read_text())["rows"][0]
        assert told["overall"]["returned"]["score"] is None, "WISE has none while ids are missing"
        assert (
            {part["returned"]["score"] for part in told["categories"].values()} == set(scores("run").values()) == {0.8}
        )
        assert records("run")["17"].result.judged.parts == {"consistency": 1.0, "realism": 0.5, "aesthetic": 0.0}
        question = server.requests[0]["messages"][0]["content"][1]["text"]
        assert "what is red in picture" in question and "shows " in question

        assert runs.milr("export", "run", "--layout", "wise", "--to", "official")[0] == 0
        code, out, _ = runs.milr("score", "wise", "official", "--prompts", runs.files["wise"], "--out", "scored",
                                 *asked_at(server))  # fmt: skip
        assert code == 0 and scores("scored") == scores("run")
        page = Path("scored/report.html").read_text()
        assert f"Wording of wise: {Wording.load('wise').label}." in page and "metric wording" in page
        assert "not the overall score of wise" in page and "search reward" not in page and "metric own" not in page
        assert len(server.requests) == 6, "the same pictures and questions: the answers were kept"
        assert not any(b"sk-secret" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert {path.name for path in Path("official").iterdir()} == {f"{name}.png" for name in scores("run")}


def test_wise_verified_by_its_own_judge(runs: Runs) -> None:
    """The marks 1 and 0 of two prompts; a system turn, no thinking, and the leaderboard's rows under the table."""
    with serving(says("Score: 1"), says("0")) as server:
        command = ("--reward", "wise-verified", "--steps", 0, "--limit", 2, "--in-flight", 1, "--out", "run")
        code, out, err = runs.of("wise-verified", *command, *asked_at(server))
    assert code == 0, err
    assert "(oracle)" in out and sorted(scores("run").values()) == [0.0, 1.0] and "998 of wise-verified's 1000" in out
    for request in server.requests:
        system, user = request["messages"]
        assert (system["role"], user["role"]) == ("system", "user") and "one mark" in system["content"]
        assert "---" not in user["content"][1]["text"] and "what is red in picture" in user["content"][1]["text"]
        assert request["chat_template_kwargs"] == {"enable_thinking": False} and request["temperature"] == 0
    page = Path("run/compare.md").read_text()
    assert "Quoted from the leaderboard of PKU-YuanGroup/WISE" in page and "BAGEL with its reasoning" in page


def test_wise_verified_and_another_wording(runs: Runs, tmp_path: Path) -> None:
    template = tmp_path / "official.txt"
    template.write_text("{prompt} ({explanation})? Three lines.")
    with serving(says("2\n2\n2")) as server:
        judge = ("--reward", "wise", "--metric", "wise", "--judge-template", f"wise={template}")
        command = ("--method", "plain", *judge, "--limit", 2)
        code, out, _ = runs.of("wise-verified", *command, "--out", "run", *asked_at(server))
    assert code == 0 and "(oracle)" in out and f"Wording of wise: template {template}." in out
    assert "of the judge Qwen3.5-35B-A3B" in out and "998 of wise-verified's 1000" in out
    assert {asked["messages"][0]["content"][1]["text"] for asked in server.requests} == {
        f"{record.prompt.text} ({record.prompt.metadata['explanation']})? Three lines."
        for record in records("run").values()
    }


def test_a_judge_that_breaks_leaves_pictures_unscored_and_the_run_goes_to_its_end(runs: Runs) -> None:
    with serving(*[MARKS] * 4, BROKEN) as server:
        command = ("--method", "plain", "--reward", "self", "--out", "run", *asked_at(server))
        code, out, _ = runs.of("wise", *command)
        assert code == 0 and "4 scored of 6, bounds 0.533 to 0.867" in out and len(server.requests) == 4 + 2 * 4
        assert f"2 of 6 pictures are unscored, the first because the judge some-judge at {server.url} failed" in out
        assert sorted(scores("run").values(), key=str) == [0.8, 0.8, 0.8, 0.8, None, None]
        made, asked = {name: record.result.image_ids for name, record in records("run").items()}, len(server.requests)
        server.script = (MARKS,)  # it works again
        code, out, _ = runs.of("wise", *command)
        assert code == 0 and "are unscored" not in out and len(server.requests) == asked + 2, "only what was unscored"
    assert set(scores("run").values()) == {0.8}
    assert made == {name: record.result.image_ids for name, record in records("run").items()}


def test_a_judge_that_breaks_as_search_reward_ends_each_search_and_says_so(runs: Runs) -> None:
    with serving(BROKEN) as server:
        command = ("--reward", "judge", "--metric", "clip", "--limit", 2, "--steps", 9, "--out", "run")
        code, out, _ = runs.of("wise", *command, *asked_at(server))
    assert code == 0 and "The search reward judge: Wording of judge: own wording" in out
    assert "Wording of judge: own wording" in Path("run/compare.html").read_text()
    assert {(record.stop, len(record.steps)) for record in records("run").values()} == {("judge_failed", 3)}
    assert all(score is not None for score in scores("run").values())  # the metric is another judge


@pytest.mark.parametrize("command", ["bench", "score"])
def test_an_endpoint_that_is_not_there_is_a_failure_with_the_reason(
    runs: Runs, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("milr.rewards.endpoint.retrying._wait", lambda settings, state: 0.0)
    with serving(MARKS) as server:
        pass
    if command == "bench":
        code, out, err = runs.of("wise", "--method", "plain", "--reward", "self", "--out", "run", *asked_at(server))
    else:
        Path("pictures").mkdir()
        for number in (number for ids in official_files.WISE_IDS["wise"] for number in ids):
            Image.new("RGB", (8, 8), (number % 256, 0, 0)).save(f"pictures/{number}.png")
        code, out, err = runs.milr("score", "wise", "pictures", "--prompts", runs.files["wise"], "--out", "run",
                                   *asked_at(server))  # fmt: skip
    assert code == 4 and "0 scored of 6" in out
    assert err.count("\n") == 1 and "no picture could be judged" in err
    assert "no connection" in err and "asks again" in err
    assert set(scores("run").values()) == {None} and len(scores("run")) == 6


def test_a_cap_on_calls_is_kept(runs: Runs) -> None:
    with serving(MARKS) as server:
        command = ("--method", "plain", "--reward", "self", "--judge-calls", 2, "--judge-tokens", 77, "--out", "run",
                   *asked_at(server))  # fmt: skip
        code, out, _ = runs.of("wise", *command)
        assert code == 0 and len(server.requests) == 2 and server.requests[0]["max_tokens"] == 77
        assert "4 of 6 pictures are unscored, the first because the cap of 2 calls" in out
        code, out, _ = runs.of("wise", *(40 if part == 2 else part for part in command))
        assert code == 0 and "are unscored" not in out and len(server.requests) == 6, "a higher cap goes on"


# --- Bad input: one sentence, the right exit code, and nothing that was finished is lost

NOWHERE = ("--reward", "self", "--judge-model", "m", "--judge-url", "http://localhost:9/v1")
BAD: dict[tuple[object, ...], tuple[int, str, str]] = {
    ("--split", "test"): (2, "geneval", "geneval takes no --split"),
    ("--categories", "colours"): (2, "geneval", "no category 'colours'; there are single_object"),
    (*NOWHERE, "--judge-template", "short.txt"): (2, "wise", "short.txt lacks {explanation}"),
    (*NOWHERE, "--judge-template", "wise=nowhere.txt"): (2, "wise", "cannot read nowhere.txt"),
    (*NOWHERE, "--judge-template", "wize=short.txt"): (2, "wise", "is called 'wize'; did you mean 'wise'"),
    ("--judge-url", "localhost"): (2, "wise", "is not an HTTP address"),
    ("--reward", "self"): (3, "wise", "needs a key: put it into the environment variable OPENAI_API_KEY"),
    ("--reward", "weighted:selv=1,clip=1"): (2, "geneval", "no reward is called 'selv'; did you mean 'self'"),
    ("--reward", "clip:3"): (2, "geneval", "the reward clip takes nothing after a colon"),
    ("--reward", "self:xml"): (2, "geneval", "there is no self:xml"),
    ("--reward", "detector"): (2, "geneval", "it knows pictures of the world shapes only"),
    ("--metric", "t2i-compbench"): (2, "wise", "the reward t2i-compbench judges prompts of its own categories"),
    ("--metric", "wise", *NOWHERE): (2, "geneval", "the reward wise needs WISE's explanation"),
    ("--reward", "mixed"): (2, "t2i-compbench", "the reward mixed reads the benchmark's clauses"),
}


@pytest.mark.parametrize("flags", BAD, ids=lambda flags: " ".join(map(str, flags)))
def test_bad_input_is_one_sentence(runs: Runs, tmp_path: Path, flags: tuple[object, ...]) -> None:
    expected, benchmark, sentence = BAD[flags]
    (tmp_path / "short.txt").write_text("Is this {prompt}?")
    code, _, err = runs.of(benchmark, *flags, "--out", "run")
    assert (code, err.count("\n")) == (expected, 1) and sentence in err, err
    assert not Path("run").exists()


def test_other_bad_input_of_runs(runs: Runs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, _, err = runs.milr("bench", "shapes", "--prompts", runs.files["geneval"])
    assert code == 2 and "shapes takes no --prompts" in err and err.count("\n") == 1
    code, _, err = runs.milr("bench", "geneval", "--prompts", "nowhere.jsonl", "--model", runs.janus)
    assert code == 2 and "nowhere.jsonl cannot be read" in err and err.count("\n") == 1
    code, _, err = runs.milr("generate", "a red star", "--model", runs.janus, "--reward", "geneval")
    assert code == 2 and "'a red star' has no metadata" in err and err.count("\n") == 1


def test_what_was_finished_outlives_later_mistakes(runs: Runs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = ("--method", "plain", "--reward", "self", "--metric", "clip", "--limit", 2, "--out", "run")
    assert runs.of("geneval", *command)[0] == 0
    kept = state("run")
    code, _, err = runs.of("geneval", *command, "--seed", 1)
    assert code == 2 and "other settings (seed: 0 there, 1 here)" in err and err.count("\n") == 1
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    code, _, err = runs.of("geneval", *command)
    assert code == 3 and "hf download openai/clip-vit-base-patch32" in err and err.count("\n") == 1
    assert state("run") == kept


@pytest.fixture
def pictures(runs: Runs, tmp_path: Path) -> Path:
    """Pictures of the first two prompts in GenEval's layout."""
    for number, line in enumerate(runs.files["geneval"].read_text().splitlines()[:2]):
        folder = tmp_path / "pictures" / f"{number:05d}" / "samples"
        folder.mkdir(parents=True)
        Image.new("RGB", (8, 8), (90 * number, 0, 0)).save(folder / "0000.png")
        (folder.parent / "metadata.jsonl").write_text(line)
    return tmp_path / "pictures"


def _hole(pictures: Path) -> None:
    (pictures / "00001/samples/0000.png").unlink()


def _foreign_metadata(pictures: Path) -> None:
    (pictures / "00001/metadata.jsonl").write_text('{"tag": "colors", "include": [], "prompt": "a cow"}')


def _unreadable(pictures: Path) -> None:
    path = pictures / "00001/samples/0000.png"
    path.write_bytes(path.read_bytes()[:40])


def _nothing(pictures: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("damage", "flags", "expected"),
    [
        (_hole, (), "lacks 1 of 2 pictures"),
        (_foreign_metadata, (), "00001/metadata.jsonl is no line of the benchmark's prompts"),
        (_unreadable, (), "00001/samples/0000.png cannot be read as a picture"),
        (_nothing, ("--metric", "self"), "the reward self asks the model that drew"),
        (_nothing, ("--metric", "self:json"), "the reward self asks the model that drew"),
        (_nothing, ("--metric", "detector"), "the metric detector knows the world shapes alone"),
        (_nothing, ("--metric", "weighted:clip=1,noisy:0,0=1"), "knows the world shapes alone"),
        (_nothing, ("--metric", "t2i-compbench"), "judges prompts of its own categories"),
        (_nothing, ("--metric", "weighted:klip=1"), "no reward is called 'klip'; did you mean 'clip'"),
    ],
)
def test_a_folder_that_cannot_be_scored_is_one_sentence(
    runs: Runs, pictures: Path, damage: Callable[[Path], None], flags: tuple[object, ...], expected: str
) -> None:
    two = official_files.geneval(pictures.parent / "two", official_files.GENEVAL[:2])
    damage(pictures)
    command = ("score", "geneval", pictures, "--prompts", two, "--metric", "clip", *flags, "--out", "scored")
    code, _, err = runs.milr(*command)
    assert (code, err.count("\n")) == (2, 1) and expected in err, err
    assert not Path("scored").exists()
    if damage in (_hole, _unreadable):
        code, out, err = runs.milr(*command, "--partial")
        assert code == 0 and "1 of 2 pictures are missing and are not in the score" in out, err


# --- What is here


def test_list_shows_what_a_reward_stops_above_and_its_licence(milr: Milr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    code, out, _ = milr("list", "rewards")
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert code == 0
    for name, part in catalog.REWARDS.items():
        assert part.licence in lines[name] and part.summary in lines[name]
        assert part.threshold is None or f" {part.threshold:g} " in lines[name]


def told(out: str) -> dict[str, str]:
    """What the doctor says of each reward."""
    lines = (line for line in out.splitlines() if " reward " in line)
    return {line.split("reward ")[1].split()[0].rstrip(":"): line for line in lines}


def test_the_doctor_says_which_rewards_run_here(
    milr: Milr, hub: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-some-key")
    code, out, _ = milr("doctor")
    assert code == 0 and {name for name, line in told(out).items() if line.startswith("ok")} == set(catalog.REWARDS)
    code, out, _ = milr("doctor", "--fetch", "t2i-compbench")
    assert code == 0 and "fetching Salesforce/blip-vqa-capfilt-large" in out and "fetching en_core" not in out
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    code, out, _ = milr("doctor")
    assert code == 0, "what only some rewards need is not missing from the package"
    here = {name for name, line in told(out).items() if line.startswith("ok")}
    assert here == {name for name, part in catalog.REWARDS.items() if not part.checkpoints}
    assert "lacks yuvalkirstain/PickScore_v1, laion/CLIP-ViT-H-14-laion2B-s32B-b79K; milr doctor --fetch" in out
    code, _, err = milr("doctor", "--fetch", "geneval")
    assert code == 3 and err.count("\n") == 1 and "hf download facebook/mask2former" in err and str(tmp_path) in err
    code, _, err = milr("doctor", "--fetch", "genevil")
    assert code == 2 and "geneval" in err


UNIFIED = "CodeGoat24/UnifiedReward-qwen-7b"


def test_the_doctor_says_which_key_a_judge_wants_and_that_an_endpoint_may_serve(
    milr: Milr, hub: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    elsewhere = "name an endpoint with --judge-url (its key, if it wants one, in JUDGE_API_KEY)"
    code, out, _ = milr("doctor")
    assert code == 0 and {name for name, line in told(out).items() if not line.startswith("ok")} == {
        "judge", "wise", "wise-verified", "unigenbench"
    }  # fmt: skip
    key = "needs a key: put it into the environment variable OPENAI_API_KEY, or"
    assert all(told(out)[name].endswith(f"{key} {elsewhere}") for name in ("judge", "wise"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-secret")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    code, out, _ = milr("doctor")
    lines = told(out)
    assert code == 0 and lines["judge"].startswith("ok") and lines["wise"].startswith("ok") and "sk-a" not in out
    for name in ("unified", "mixed"):
        assert lines[name].endswith(f"{UNIFIED}; milr doctor --fetch {name}, or for {UNIFIED} {elsewhere}")
    for name in ("geneval2", "dpg-bench"):
        assert lines[name].endswith(f"milr doctor --fetch {name}, or for {pinned.QWEN3_VL} {elsewhere}")
    assert "--judge-url" not in lines["geneval"]


def test_the_doctor_knows_the_extra_of_a_missing_package(milr: Milr, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    absent = {"openai", "spacy", "en_core_web_sm"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name in absent else real(name, *more))
    code, out, _ = milr("doctor")
    assert code == 0 and "reward judge: lacks the package openai" in out and "the package spacy" in out
    for reward, extra in (("wise", "judge"), ("t2i-compbench", "bench")):
        code, _, err = milr("doctor", "--fetch", reward)
        assert code == 3 and f"pip install 'milr[{extra}]'" in err and err.count("\n") == 1


def test_an_experiment_may_be_about_an_official_benchmark(tmp_path: Path) -> None:
    path = tmp_path / "official.toml"
    path.write_text('title = "t"\nbenchmark = "geneval"\n[rows.a]\nreward = "self"\n')
    assert read_experiment(path).options("a", 0).metric == "geneval"
