"""The shipped recipes of the paper's tables, on a small random Janus, small judges and prompt files of ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import official_files
from chat_server import on_loopback, says, serving
from milr.runs.store import RunStore
from milr.workflows.experiments import experiment_runs, read_experiment

Milr = Callable[..., tuple[int, str, str]]
FOLDER = Path(__file__).parents[1] / "experiments"
BENCHMARKS = ("geneval", "t2i-compbench", "wise")
PICTURES = 21


Recipe = Callable[..., tuple[int, str, str]]


@pytest.fixture
def recipe(
    milr: Milr, hub: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Recipe]:
    """Run the recipe of a benchmark on one prompt: `recipe("geneval", "--dry")`."""
    on_loopback(monkeypatch, tmp_path / "no certificates")
    monkeypatch.setenv("MILR_CACHE", str(tmp_path / "cache"))
    files = official_files.write_all(tmp_path / "prompts")
    with serving(says("Consistency: 1\nRealism: 0\nAesthetic Quality: 1")) as server:

        def call(benchmark: str, *flags: object) -> tuple[int, str, str]:
            few = ("--prompts", files[benchmark], "--limit", 1, "--model", tiny_folder)
            judge = ("--judge-url", server.url, "--judge-model", "some-judge") if benchmark == "wise" else ()
            return milr("experiment", FOLDER / f"table1-{benchmark}.toml", *few, *judge, *flags)

        yield call


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_a_recipe_runs_all_its_rows_at_one_budget_and_compares_them(recipe: Recipe, benchmark: str) -> None:
    plan = read_experiment(FOLDER / f"table1-{benchmark}.toml")
    code, out, err = recipe(benchmark, "--out", "table1", "--json")
    assert code == 0, err
    table = json.loads(out)
    assert table["version"] == 1
    assert {row["name"]: row["oracle"] for row in table["rows"]} == dict.fromkeys(plan.rows, True)
    for run in experiment_runs(plan, Path("table1")):
        store = RunStore(run.folder)
        config, (record,) = store.run().config, store.records()
        assert config.preset == "paper" and config.settings["learning_rate"] == 0.03
        single = run.row in ("plain", "text-enhanced")
        assert config.settings["pictures"] == (1 if single else PICTURES)
        full = run.row == "Best-of-N"
        assert len(record.steps) == PICTURES if full else 1 <= len(record.steps) <= PICTURES
        assert record.result.score is not None


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_a_recipe_says_what_it_would_cost(recipe: Recipe, benchmark: str) -> None:
    code, out, err = recipe(benchmark, "--dry")
    most = 2 + 6 * PICTURES  # two rows of a single draw
    assert code == 0 and f"8 samples to make, at most {most} pictures" in out, err
    assert not Path("runs").exists()


def test_rows_share_their_first_picture(recipe: Recipe) -> None:
    """Randomness belongs to the request: rows that begin with the greedy text begin with the same picture."""
    rows = ("text-enhanced", "MILR", "MILR, text only", "frozen")
    flags = [flag for row in rows for flag in ("--row", row)]
    assert recipe("geneval", *flags, "--out", "table1")[0] == 0
    plan = read_experiment(FOLDER / "table1-geneval.toml")
    runs = [run for run in experiment_runs(plan, Path("table1")) if run.row in rows]
    firsts = [RunStore(run.folder).records()[0].steps[0].image_ids for run in runs]
    assert len(firsts) == 4 and len(set(firsts)) == 1


def test_a_recipe_on_another_benchmark(recipe: Recipe, milr: Milr, tmp_path: Path,
                                       tiny_folder: Path) -> None:  # fmt: skip
    flags = ("--benchmark", "geneval", "--prompts", tmp_path / "prompts" / "geneval" / "evaluation_metadata.jsonl",
             "--categories", "colors", "--model", tiny_folder, "--reward", "self", "--row", "plain", "--out", "other",
             )  # fmt: skip
    code, _, err = milr("experiment", FOLDER / "controls.toml", *flags)
    assert code == 0, err
    config = RunStore("other/plain/seed-0").run().config
    assert (config.benchmark, config.report_metric, config.reward, config.prompt_count) == (
        "geneval", "geneval", "self", 1)  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--benchmark", "genevall"), "did you mean 'geneval'"),
        (("--split", "hard"), "takes no --split"),
        (("--categories", "colours"), "there is no category 'colours'"),
        (("--limit", 0), "at least 1"),
        (("--reward", "selv"), "did you mean 'self'"),
        (("--prompts", "nowhere.jsonl"), "nowhere.jsonl cannot be read"),
    ],
)
def test_a_wrong_override_is_one_sentence(recipe: Recipe, flags: tuple[object, ...], says: str) -> None:
    code, _, err = recipe("geneval", *flags)
    assert code == 2 and says in err and err.count("\n") == 1, err
    assert not Path("runs").exists()
