"""Comparisons: rows by seed, refusals with their reason, curves and bounds computed by hand, self-contained pages."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from milr.catalog.models import MODELS
from milr.report.changes import NOTHING_CHANGED
from milr.report.compare.comparison import compare, compare_runs, stopped_after
from milr.report.compare.export import to_csv, to_json
from milr.report.compare.markdown import to_markdown
from milr.report.compare.page import figures, render, write_files, write_page
from milr.report.compare.records import MeanScore
from milr.report.compare.rows import load_rows, picture_budget
from milr.report.compare.scores import rank_rows
from milr.report.compare.tables import main_table, memory, p_value, terminal_rows, updates_table
from milr.report.compare.updates import UpdateCounts
from milr.report.figures import Line, budget_curves
from milr.report.methods import PAPER_MODELS, other_model
from milr.report.quoted import quotation, quoted_rows
from milr.report.statistics import Interval, wilson
from milr.runs.store import RunStore
from milr.types import Key, ModalityInfo, Prompt, Score, UsageError
from outcomes import config, outcome, step
from page import Page

A, B = Prompt("a red star", "a", "colors"), Prompt("two red stars", "b", "counting")
BASE = dict(benchmark="shapes", report_metric="detector", reward="held-out", metric_identity={"sources": "m1"},
            seed=0)  # fmt: skip
SETTINGS = {"learning_rate": 0.03, "steps": 20, "threshold": 0.9, "pictures": 21, "returns": "best"}
Pairs = Sequence[tuple[float | None, float | None]]  # search reward and report metric of each picture
RIGHT, WRONG = [(1.0, 1.0)], [(0.0, 0.0)]


def write(folder: Path, *searches: Pairs, prompts: Sequence[Prompt] = (A, B), in_flight: int = 8, sample: int = 0,
          peak: int = 0, **changes) -> Path:  # fmt: skip
    """A run of one search for each prompt; `changes` are of the configuration, `settings` of its settings."""
    fields = {**BASE, "prompt_count": len(prompts), **changes}
    fields["settings"] = {**SETTINGS, **changes.get("settings", {})}
    run_config = config(**fields)
    with RunStore(folder).open(run_config, in_flight=in_flight) as store:
        for prompt, pairs in zip(prompts, searches, strict=False):
            store.write(search(prompt, pairs, run_config.seed, sample, last=fields["settings"]["returns"] == "last"))
        store.record_peak_memory(peak)
    return folder


def search(prompt: Prompt, pairs: Pairs, seed: int, sample: int, *, last: bool):
    steps = tuple(step(index, value) for index, (value, _) in enumerate(pairs))
    judged = {index: Score.unscored("?") if word is None else Score(word) for index, (_, word) in enumerate(pairs)}
    best_outcome = outcome(prompt, [value for value, _ in pairs], sample, steps=steps, judged=judged,
                    key=Key(seed, prompt.text, sample))  # fmt: skip
    returned = len(steps) - 1 if last or best_outcome.best is None else best_outcome.best
    return outcome(prompt, steps=steps, judged=judged, key=best_outcome.key, returned=returned)


def names(*folders: Path) -> list[str]:
    return [row.name for row in load_rows(folders)]


@pytest.fixture
def two(tmp_path) -> list[Path]:
    """plain: one right of two; latent_reasoning: both right, the second after two pictures."""
    return [
        write(tmp_path / "plain", RIGHT, WRONG, method="plain", settings={"pictures": 1}),
        write(tmp_path / "latent", RIGHT, [(0.0, 0.0), (1.0, 1.0)]),
    ]


# Rows


def test_runs_that_differ_in_the_seed_are_one_row(tmp_path):
    folders = [write(tmp_path / str(seed), RIGHT, WRONG, seed=seed) for seed in (2, 0, 1)]
    (row,) = load_rows(folders)
    assert (row.name, row.seeds, len(list(row.samples))) == ("latent_reasoning", (0, 1, 2), 6)
    comparison = compare([row])
    assert (comparison.prompts, comparison.searches, comparison.seeds) == (2, 6, (0, 1, 2))


def test_one_run_named_twice_is_refused(tmp_path):
    folder = write(tmp_path / "one", RIGHT, WRONG)
    with pytest.raises(UsageError, match="the same run \\(seed 0\\)"):
        load_rows([folder, folder])
    copy = write(tmp_path / "two", RIGHT, WRONG, label="again")
    assert names(folder, copy) == ["latent_reasoning", "again"], "a label makes a row of its own"


def test_names_are_the_method_and_the_settings_that_differ(tmp_path):
    def run(name, method="latent_reasoning", **settings):
        return write(tmp_path / name, RIGHT, WRONG, method=method, settings=settings)

    one, fast = run("one"), run("fast", learning_rate=0.1)
    assert names(one) == ["latent_reasoning"]
    assert names(one, fast) == ["latent_reasoning, learning_rate 0.03", "latent_reasoning, learning_rate 0.1"]
    drawn = [run("greedy", "redraw_greedy"), run("sampled", "redraw_sampled", threshold=None),
             run("plain", "redraw_plain"), run("single", "plain", pictures=1, threshold=None)]  # fmt: skip
    assert names(one, *drawn) == ["latent_reasoning, threshold 0.9", "redraw_greedy, threshold 0.9",
                                  "redraw_sampled, no stop", "redraw_plain, threshold 0.9", "plain"]  # fmt: skip
    assert names(one, *drawn[:1], *drawn[2:]) == ["latent_reasoning", "redraw_greedy", "redraw_plain", "plain"]
    unstopped = run("unstopped", threshold=None)
    assert names(one, unstopped) == ["latent_reasoning, threshold 0.9", "latent_reasoning, no stop"]
    assert names(one, run("short", pictures=4)) == ["latent_reasoning, pictures 21", "latent_reasoning, pictures 4"]
    assert names(one, run("frozen", "frozen", learning_rate=0.5)) == ["latent_reasoning", "frozen"]


def test_names_include_rewards_and_models_that_differ(tmp_path):
    one = write(tmp_path / "one", RIGHT, WRONG)
    own = write(tmp_path / "self", RIGHT, WRONG, reward="self", settings={"threshold": 0.5})
    assert names(one, own) == ["latent_reasoning, reward held-out", "latent_reasoning, reward self"]
    big = write(tmp_path / "big", RIGHT, WRONG, model="deepseek-community/Janus-Pro-1B", label="MILR")
    assert names(one, big) == ["latent_reasoning, model nano", "MILR, model Janus-Pro-1B"]


def test_names_are_unique(tmp_path):
    twice = [write(tmp_path / str(rate), RIGHT, WRONG, label="x", settings={"learning_rate": rate}) for rate in (1, 2)]
    assert names(*twice) == ["x, learning_rate 1", "x, learning_rate 2"]
    weights = [write(tmp_path / hash, RIGHT, WRONG, model_identity={"weights": hash * 10}) for hash in ("abcd", "efgh")]
    assert names(*weights) == ["latent_reasoning, model weights abcdabcdabcd",
                               "latent_reasoning, model weights efghefghefgh"]  # fmt: skip
    with_copy = [write(tmp_path / name, RIGHT, WRONG, label=label) for name, label in (("p", ""), ("q", "plain"))]
    other = write(tmp_path / "r", RIGHT, WRONG, method="plain")
    assert len(set(names(*with_copy, other))) == 3


def test_the_oracle_is_a_part_of_the_title(tmp_path):
    oracle = write(tmp_path / "o", RIGHT, WRONG, reward="detector", oracle=True)
    blind = write(tmp_path / "n", RIGHT, WRONG, report_metric="", metric_identity={})
    assert [row.title for row in load_rows([oracle])] == ["latent_reasoning (oracle)"]
    assert [row.oracle for row in load_rows([blind])] == [True], "without another judge the reward judges itself"


# Refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts_digest": "other"}, "they have other prompts .*: *.*run both on the same prompts|same prompts"),
        ({"report_metric": "held-out"}, "other report metrics \\(detector and held-out\\)"),
        ({"metric_identity": {"sources": "m2"}}, "other versions of the report metric detector"),
        ({"benchmark": "geneval"}, "other benchmarks \\(shapes and geneval\\)"),
        ({"samples": 2}, "other numbers of samples \\(1 and 2\\)"),
    ],
)
def test_rows_that_are_not_comparable_are_refused(two, tmp_path, change, message):
    other = write(tmp_path / "other", RIGHT, WRONG, method="random_walk", **change)
    with pytest.raises(UsageError, match=message) as refused:
        compare_runs([*two, other], partial=True)
    assert "plain and random_walk" in str(refused.value)


def test_other_seeds_are_refused_unless_partial(two, tmp_path):
    more = write(tmp_path / "more", RIGHT, WRONG, method="plain", settings={"pictures": 1}, seed=1)
    with pytest.raises(UsageError, match="plain has the seeds 0, 1 and latent_reasoning has the seed 0"):
        compare_runs([*two, more])
    comparison = compare_runs([*two, more], partial=True)
    assert (comparison.seeds, comparison.searches) == ((0,), 2)
    assert "Partial: 2 of the 4 samples of plain are compared, those that all rows have." in comparison.notes


def test_unfinished_runs_are_refused_unless_partial(two, tmp_path):
    half = write(tmp_path / "half", RIGHT, method="frozen")
    with pytest.raises(UsageError, match="half lacks 1 of 2 samples: the same command finishes a run"):
        compare_runs([*two, half])
    comparison = compare_runs([*two, half], partial=True)
    assert (comparison.searches, comparison.categories) == (1, ("colors",))
    assert sum(note.startswith("Partial: 1 of the 2 samples") for note in comparison.notes) == 3


def test_nothing_to_compare_is_refused(two, tmp_path):
    with pytest.raises(UsageError, match="name at least one run folder"):
        load_rows([])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no run"):
        load_rows([*two, tmp_path / "empty"])
    begun = write(tmp_path / "begun", method="frozen")
    with pytest.raises(UsageError, match="no finished sample in common"):
        compare_runs([*two, begun], partial=True)
    with pytest.raises(UsageError, match="no row is called 'milr'; there are: plain; latent_reasoning"):
        compare_runs(two, against="milr")


def test_older_runs_without_a_metric_identity_are_compared_with_a_note(two, tmp_path):
    old = write(tmp_path / "old", RIGHT, WRONG, method="frozen", benchmark="", metric_identity={})
    notes = compare_runs([*two, old]).notes
    assert "Which version of detector judged is not known for frozen." in notes


def test_differences_that_change_no_score_are_notes(two, tmp_path):
    other = write(tmp_path / "other", RIGHT, WRONG, method="frozen", in_flight=16)
    path = other / "run.json"
    path.write_text(re.sub(r'"torch": "[^"]*"', '"torch": "9.9"', path.read_text()))
    notes = " ".join(compare_runs([*two, other]).notes)
    assert re.search(r"Package versions differ: torch [^;]*9\.9\.", notes)
    assert "The numbers of samples in flight differ, so seconds are not comparable: plain 8; latent_" in notes
    assert "latent_reasoning 8; frozen 16." in notes
    assert (
        "Rows were allowed different numbers of pictures (1, 21)" in notes
        and "nano is not known to be one of the paper's models" in notes
    )
    assert "Machines differ" not in notes
    assert not any("Package" in note or "flight" in note for note in compare_runs(two).notes)


@pytest.mark.parametrize("model", PAPER_MODELS)
def test_the_papers_models_are_those_of_the_catalogue_and_bring_no_sentence(model):
    assert model in MODELS and other_model(config(model=model)) == ""


@pytest.mark.parametrize(
    "model", ["nano", "Janus-Pro-7B", "my-Janus-Pro-7B", "deepseek-community/Janus-Pro-7B/", "someone/Janus-Pro-1B"]
)
def test_any_other_name_or_folder_is_not_known_to_be_a_model_of_the_paper(model):
    models = "Janus-Pro-7B, Janus-Pro-1B"
    sentence = f"is not known to be one of the paper's models ({models}): do not set its numbers beside theirs."
    assert other_model(config(model=model)) == f"{model} {sentence}"
    assert other_model(config(model=model, command="score")) == ""


# Numbers


def test_numbers_of_two_rows_by_hand(tmp_path):
    """Categories of 3 and 1 prompts: 2/3 and 0 against 3/3 and 1; the overall score is the mean of the two shares."""
    prompts = [Prompt(f"p{n}", f"p{n}", "colors") for n in range(3)] + [B]
    one = write(tmp_path / "1", RIGHT, RIGHT, WRONG, WRONG, prompts=prompts, method="plain", settings={"pictures": 1})
    two = write(tmp_path / "2", RIGHT, RIGHT, WRONG + RIGHT, WRONG + WRONG + RIGHT, prompts=prompts, peak=3 * 2**30)
    plain, latent = compare_runs([one, two]).rows
    assert plain.overall.returned.score == pytest.approx(1 / 3) and latent.overall.returned.score == 1.0
    assert latent.overall.first.score == pytest.approx(1 / 3)
    colors = plain.categories["colors"].returned
    assert (colors.n, colors.score) == (3, pytest.approx(2 / 3))
    assert colors.interval == wilson(2, 3), "one picture per prompt in one category is Wilson's"
    assert latent.categories["counting"].returned.interval == wilson(1, 1)
    assert (plain.rank, latent.rank) == (2, 1)
    assert latent.overall.paired.difference == pytest.approx((1 / 3 + 1) / 2) and plain.overall.paired is None
    assert latent.categories["colors"].paired.difference == pytest.approx(1 / 3)
    assert (latent.overall.paired.against, latent.overall.paired.pairs) == ("plain", 4)
    spent = latent.spent  # 1, 1, 2 and 3 pictures at 10 token-steps, 0.5 and 0.25 seconds each
    assert (spent.pictures, spent.token_steps, spent.reward_calls) == (7 / 4, 70 / 4, 7 / 4)
    assert (spent.model_seconds, spent.reward_seconds, spent.seconds) == (3.5 / 4, 1.75 / 4, 5.25 / 4)
    assert (latent.in_flight, latent.peak_memory, latent.budget, plain.budget) == ((8,), 3 * 2**30, 21, 1)


def test_the_chosen_row_is_tested_against(two):
    plain, latent = compare_runs(two, against="latent_reasoning").rows
    assert plain.overall.paired.difference == -0.5 and latent.overall.paired is None
    assert plain.overall.paired.against == "latent_reasoning"


def test_several_seeds_are_not_taken_for_several_prompts(tmp_path):
    folders = [write(tmp_path / str(seed), RIGHT, WRONG, prompts=[A, Prompt("c", "c", "colors")], seed=seed)
               for seed in range(4)]  # fmt: skip
    (row,) = compare_runs(folders).rows
    interval = row.categories["colors"].returned.interval
    assert interval is not None and interval.low < 0.05 and interval.high > 0.95, "two prompts, one always right"


def test_holm_corrects_over_the_rows(tmp_path):
    prompts = [Prompt(f"p{n}", f"p{n}", "colors") for n in range(8)]

    def run(name, right):
        searches = [RIGHT] * right + [WRONG] * (8 - right)
        return write(tmp_path / name, *searches, prompts=prompts, method=name, settings={"pictures": 1})

    rows = compare_runs([run("plain", 0), run("some", 6), run("all", 8)]).rows
    some, every = rows[1].overall.paired, rows[2].overall.paired
    assert some.p == pytest.approx(2 / 2**6) and every.p == pytest.approx(2 / 2**8)  # exact McNemar: 6:0 and 8:0
    assert every.holm == pytest.approx(2 * every.p) and some.holm == pytest.approx(max(some.p, every.holm))


def test_unscored_pictures_are_neither_zeros_nor_left_out_of_the_bounds(tmp_path):
    prompts = [Prompt(f"p{n}", f"p{n}", "colors") for n in range(4)]
    strange = [(1.0, None)]
    one = write(tmp_path / "1", RIGHT, RIGHT, WRONG, strange, prompts=prompts, method="plain")
    two = write(tmp_path / "2", RIGHT, RIGHT, RIGHT, WRONG, prompts=prompts)
    three = write(tmp_path / "3", WRONG, WRONG, WRONG, RIGHT, prompts=prompts, method="frozen")
    comparison = compare_runs([one, two, three])
    plain, latent, frozen = comparison.rows
    returned = plain.overall.returned
    assert (returned.n, returned.scored, returned.score) == (4, 3, pytest.approx(2 / 3))
    assert (returned.lowest, returned.highest) == (0.5, 0.75)
    assert (plain.rank, latent.rank, frozen.rank) == (None, None, 3), "0.75 lies within 0.5 to 0.75; 0.25 does not"
    assert latent.overall.paired.pairs == 3 and latent.overall.paired.difference == pytest.approx(1 / 3)
    assert "3 scored of 4, bounds 0.500 to 0.750" in to_markdown(comparison) and "not ranked" in to_markdown(comparison)


def test_a_category_without_a_judgement_leaves_no_overall_score(tmp_path):
    one = write(tmp_path / "1", RIGHT, [(1.0, None)], method="plain")
    plain, latent = compare_runs([one, write(tmp_path / "2", RIGHT, RIGHT)]).rows
    returned = plain.overall.returned
    assert (returned.score, returned.interval, returned.lowest, returned.highest) == (None, None, 0.5, 1.0)
    assert plain.categories["colors"].returned.score == 1.0 and latent.overall.paired is None
    assert plain.rank is None and latent.categories["colors"].paired.pairs == 1


def test_pictures_that_were_never_judged_are_unscored_and_noted(tmp_path):
    folder = tmp_path / "1"
    run_config = config(**{**BASE, "prompt_count": 1, "settings": SETTINGS})
    with RunStore(folder).open(run_config) as store:
        store.write(outcome(A, (0.2, 1.0), key=Key(0, A.text)))
    comparison = compare_runs([folder])
    assert comparison.rows[0].overall.returned.scored == 0, "the search reward does not speak for the report metric"
    assert "latent_reasoning: 1 returned pictures were never shown to detector; they are unscored." in comparison.notes


def test_an_oracle_row_is_scored_by_its_search_reward(tmp_path):
    folder = tmp_path / "1"
    run_config = config(**{**BASE, "prompt_count": 1, "reward": "detector", "oracle": True, "settings": SETTINGS})
    with RunStore(folder).open(run_config) as store:
        store.write(outcome(A, (0.2, 0.8), key=Key(0, A.text)))
    assert compare_runs([folder]).rows[0].overall.returned.score == 0.8


def test_equal_rows_share_a_rank():
    def whole(value):
        return MeanScore(4, 4, value, None, value, value)

    assert rank_rows([whole(0.5), whole(0.7), whole(0.5), whole(0.2)]) == [2, 1, 2, 4]
    wide = MeanScore(4, 2, 0.5, None, 0.3, 0.6)
    assert rank_rows([whole(0.7), wide, whole(0.5), whole(0.2)]) == [1, None, None, 4]


# Curves

WALK: Pairs = [(0.2, 0.1), (0.5, 0.3), (0.5, 0.9), (None, 0.4), (0.4, 0.6), (0.8, 0.7)]


def test_a_search_stopped_after_n_pictures_by_hand(tmp_path):
    (row,) = load_rows([write(tmp_path / "1", WALK, prompts=[A])])
    (sample,) = row.samples
    stopped = [stopped_after(sample, allowed) for allowed in (1, 2, 3, 4, 5, 6, 21)]
    assert [picture.metric for picture, _ in stopped] == [0.1, 0.3, 0.3, 0.3, 0.3, 0.7, 0.7], "the first of equals"
    assert [cost.pictures for _, cost in stopped] == [1, 2, 3, 4, 5, 6, 6], "it ended after six"
    assert stopped[2][1].token_steps == 30 and stopped[2][1].model_seconds == 1.5
    last = [stopped_after(sample, allowed, keeps_best=False)[0].metric for allowed in (1, 2, 3, 4, 21)]
    assert last == [0.1, 0.3, 0.9, 0.4, 0.7]


def test_a_search_without_any_search_score_returns_its_last_picture(tmp_path):
    (row,) = load_rows([write(tmp_path / "1", [(None, 0.1), (None, 0.2), (None, 0.3)], prompts=[A])])
    (sample,) = row.samples
    assert [stopped_after(sample, n)[0].metric for n in (1, 2, 3)] == [0.1, 0.2, 0.3]


@pytest.mark.parametrize(("returns", "metrics"), [("best", [0.1, 0.3, 0.3, 0.7]), ("last", [0.1, 0.3, 0.4, 0.7])])
def test_curves_end_at_the_budget_with_the_result_of_the_run(tmp_path, returns, metrics):
    settings = {"returns": returns, "pictures": 6}
    (row,) = compare_runs([write(tmp_path / "1", WALK, RIGHT, settings=settings)]).rows
    assert [point.allowed for point in row.curve] == [1, 2, 4, 6]
    expected = [(metric + 1) / 2 for metric in metrics]
    assert [point.returned.score for point in row.curve] == pytest.approx(expected)
    assert row.curve[-1].returned == row.overall.returned and row.curve[-1].spent == row.spent
    assert [point.spent.pictures for point in row.curve] == [1.0, 1.5, 2.5, 3.5], "the second search stops at once"
    assert row.curve[0].returned.score == row.overall.first.score


def test_the_budget_of_a_run_that_does_not_say(tmp_path):
    single = write(tmp_path / "1", RIGHT, WRONG, method="plain", settings={"pictures": None})
    longer = write(tmp_path / "2", RIGHT, WRONG + WRONG, settings={"pictures": None})
    assert [picture_budget(row) for row in load_rows([single, longer])] == [1, 21]


# Outputs


def test_page_is_self_contained_and_well_formed(two, tmp_path):
    comparison = compare_runs(two)
    text = write_page(comparison, tmp_path / "deep" / "page.html", quoted=True).read_text()
    page = Page(text)
    assert len(page.named("svg")) == 2 and len(page.named("img")) == 4, "two prompts, two rows"
    assert all(image["src"].startswith("data:image/png;base64,") and image["alt"] for image in page.named("img"))
    assert not re.search(r"""(src|href|url\(|@import)[\s=("']*(https?:)?//""", text)
    assert len(page.named("script")) == 1 and not page.named("link")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len([name for name in ids if name in ("numbers", "curves", "categories", "examples", "how", "quoted")]) == 6
    assert "two red stars" in text and "exact" in text.lower() and "Wilson" in text and "8" in text


def test_pages_and_tables_escape_what_people_wrote(tmp_path):
    evil = '<script>alert(1)</script> | "x"'
    one = write(tmp_path / "1", RIGHT, prompts=[Prompt(evil, "e", evil)], label=evil)
    two = write(tmp_path / "2", WRONG, prompts=[Prompt(evil, "e", evil)], method="plain")
    comparison = compare_runs([one, two])
    text = render(comparison)
    assert text.count("<script") == 1 and "&lt;script&gt;alert(1)" in text, "the page's own, whose hash it allows"
    assert Page(text).tags.count(("script", {"type": "module"})) == 1
    line = next(line for line in to_markdown(comparison).splitlines() if line.startswith("| &lt;script"))
    assert line.replace("\\|", "").count("|") == len(main_table(comparison).header) + 1


def test_the_oracle_label_is_wherever_the_row_is(two, tmp_path):
    oracle = write(tmp_path / "o", RIGHT, RIGHT, reward="detector", oracle=True, method="frozen")
    comparison = compare_runs([*two, oracle], against="frozen, reward detector")
    title = "frozen, reward detector (oracle)"
    assert comparison.against == title
    files = [content(comparison) for content in (to_markdown, to_csv, to_json, render)]
    for text in (*files, str(terminal_rows(comparison)), *(svg for _, svg in figures(comparison))):
        assert title in text
    shown = to_markdown(comparison) + render(comparison)
    assert shown.count("frozen, reward detector") == shown.count(title)
    assert "an upper bound" in to_markdown(comparison)


def test_csv_and_json_hold_the_numbers(two):
    comparison = compare_runs(two)
    lines = list(csv.DictReader(io.StringIO(to_csv(comparison), newline="")))
    kinds = [(line["row"], line["kind"]) for line in lines]
    assert kinds.count(("plain", "curve")) == 1 and kinds.count(("latent_reasoning", "curve")) == 6
    assert kinds.count(("plain", "category")) == 2 and kinds.count(("plain", "overall")) == 1
    whole = next(line for line in lines if line["row"] == "latent_reasoning" and line["kind"] == "overall")
    assert (whole["score"], whole["difference"], whole["first_score"]) == ("1.0", "0.5", "0.5")
    assert (whole["pictures"], whole["token_steps"], whole["in_flight"]) == ("1.5", "15.0", "8")
    numbers = json.loads(to_json(comparison))
    assert numbers["rows"][1]["curve"][1]["returned"]["score"] == 1.0 and numbers["against"] == "plain"
    assert numbers["rows"][0]["overall"]["paired"] is None and numbers["how"]


def test_a_single_row_has_no_ranks_and_tests(two):
    comparison = compare_runs(two[:1])
    assert "rank" not in main_table(comparison).header and len(main_table(comparison).rows[0]) == len(
        main_table(comparison).header
    )
    header, rows = terminal_rows(comparison)
    assert "p (Holm)" not in header and len(rows[0]) == len(header)
    assert to_markdown(comparison).startswith("# plain on shapes\n") and comparison.examples == ()
    Page(render(comparison))


def test_examples_are_where_rows_differ_most_with_categories_taking_turns(tmp_path):
    prompts = [Prompt(f"{kind} {n}", f"{kind}{n}", kind) for kind in ("colors", "counting") for n in range(5)]
    scores = [0.1, 0.5, 0.9, 0.0, 0.3, 0.2, 0.0, 0.0, 0.0, 0.0]
    low = write(tmp_path / "1", *[WRONG] * 10, prompts=prompts, method="plain")
    high = write(tmp_path / "2", *[[(1.0, score)] for score in scores], prompts=prompts)
    examples = compare_runs([low, high]).examples
    assert [example.prompt for example in examples] == ["colors 2", "counting 0", "colors 1", "colors 4", "colors 0"]
    assert [(shot.title, shot.score) for shot in examples[0].shots] == [("plain", 0.0), ("latent_reasoning", 0.9)]


def test_all_files_are_written_and_a_bad_place_is_said(two, tmp_path):
    comparison = compare_runs(two)
    assert write_files(comparison, tmp_path / "out") == tmp_path / "out" / "compare.html"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "compare.md", "compare.csv", "compare.json", "compare.html"}  # fmt: skip
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        write_page(comparison, tmp_path / "file" / "page.html")


def test_small_words():
    assert [p_value(p) for p in (None, 0.0001, 0.04321, 1.0)] == ["–", "<0.001", "0.043", "1.000"]
    assert [memory(count) for count in (0, 900 * 2**20, 3 * 2**29)] == ["–", "900 MiB", "1.5 GiB"]


def test_a_figure_of_ten_rows_names_them_all_and_is_repeatable():
    lines = [Line(f"row number {n}", [1, 2, 4], [0.5, None, 0.7], [Interval(0.4, 0.6), None, None]) for n in range(10)]
    svg = budget_curves(lines, "pictures allowed", ticks=[1, 2, 4])
    assert svg == budget_curves(lines, "pictures allowed", ticks=[1, 2, 4])
    assert all(f"row number {n}<" in svg.decode() for n in range(10))
    assert budget_curves([Line("none", [1], [None], [None])], "x", format="png").startswith(b"\x89PNG")


# Quoted rows


def test_quoted_rows_name_their_table():
    geneval = quoted_rows("geneval")
    milr = [row for row in geneval if row.system == "Janus-Pro-7B+MILR"]
    assert [(row.overall, row.label) for row in milr] == [(0.95, "quoted, arXiv 2509.22761, Table 1")]
    assert {row.label[-7:] for row in geneval} == {"Table 1", "Table 3", "Table 6"} and len(geneval) == 22 + 4 + 6
    text_only = next(row for row in geneval if row.system == "w/o Image")
    assert (text_only.overall, text_only.categories["two_object"]) == (0.94, 1.0)
    wise = quoted_rows("wise")
    assert all(row.overall is not None and not row.categories for row in wise) and len(wise) == 12 + 4
    doubtful = [row for row in quoted_rows("t2i-compbench") if row.doubt]
    assert [row.system for row in doubtful] == ["UnifiedReward"] and quoted_rows("mine") == []


def test_quoted_rows_are_shown_where_they_belong(two):
    assert quotation("geneval") is not None and quotation("geneval", False) is None
    assert quotation("shapes") is None and quotation("mine", True) is None
    verified = quotation("wise-verified")
    assert verified is not None and [row.overall for row in verified.rows] == [0.334, 0.265, 0.352, 0.628]
    assert "leaderboard" in verified.heading and quotation("wise-verified", False) is None
    shown = quotation("shapes", True)
    assert shown is not None and any("photographs, another world" in sentence for sentence in shown.sentences)
    comparison = compare_runs(two)
    for text in (to_markdown(comparison, quoted=True), render(comparison, quoted=True)):
        heading = text.index("Quoted from the paper, not run here")
        assert text.index("quoted, arXiv 2509.22761, Table 1") > heading
        assert "no intervals were published" in text and "photographs, another world" in text
    assert "Quoted" not in to_markdown(comparison) and "Quoted" not in render(comparison)


# What the updates did


def test_what_the_updates_did_is_counted_by_row(tmp_path):
    collapsed = ModalityInfo(-0.5, 2.0, 0.1, 0.25, 1, 4, surprise=9.0)
    steps = (
        step(0, 0.0),
        step(1, 0.5, info={"text": collapsed}, text_changed=True),
        step(2, 0.75),
    )
    judged = {0: Score(1.0), 1: Score(0.5), 2: Score(0.0)}
    run_config = config(**BASE, prompt_count=1, settings=SETTINGS)
    with RunStore(tmp_path / "a").open(run_config) as store:
        store.write(outcome(A, steps=steps, judged=judged, key=Key(0, A.text, 0), returned=2, best=2))
    (row,) = compare_runs([tmp_path / "a"]).rows
    assert (row.moved.text_steps, row.moved.text_changed, row.moved.text_collapsed) == (2, 1, 1)
    assert (row.moved.text_free, row.moved.image_steps, row.moved.hacked, row.moved.searches) == (8, 0, 1, 1)
    (line,) = updates_table(compare_runs([tmp_path / "a"])).rows
    assert line[1:] == ["2", "4.0", "50 %", "50 %", "0", "–", "–", "100 %"]
    assert "text collapse" in to_markdown(compare_runs([tmp_path / "a"]))
    assert "What the updates did" in render(compare_runs([tmp_path / "a"]))


def test_frozen_is_not_shown_as_having_updated_anything(tmp_path):
    unmoved = {"text": ModalityInfo(-0.5, 2.0, 0.0, 0.0, 0, 4), "image": ModalityInfo(-0.5, 2.0, 0.0, 0.0, 1, 1)}
    same = {"ids": (5, 6), "moved": False}
    unmoved_step = replace(step(2, 1.0, **same), moved=("text", "image"), info=unmoved)
    steps = (step(0, 0.0, **same), step(1, 0.75, **same), unmoved_step)
    folder = tmp_path / "frozen"
    with RunStore(folder).open(config(**BASE, prompt_count=1, settings=SETTINGS, method="frozen")) as store:
        store.write(outcome(A, steps=steps, judged={0: Score(0.0), 2: Score(1.0)}, key=Key(0, A.text, 0)))
    plain = write(tmp_path / "plain", WRONG, prompts=[A], method="plain")
    comparison = compare_runs([folder, plain])
    assert comparison.rows[0].moved == UpdateCounts(searches=1) and updates_table(comparison).rows == []
    assert [shot.change for shot in comparison.examples[0].shots] == [NOTHING_CHANGED, "the first picture was kept"]
    page = render(comparison)
    assert "What the updates did" not in page and f"frozen: {NOTHING_CHANGED}" in page


def test_methods_are_shown_by_their_own_name_with_an_explanation(tmp_path):
    one = write(tmp_path / "1", RIGHT, WRONG)
    sampled = write(tmp_path / "2", RIGHT, WRONG, method="redraw_sampled")
    labelled = write(tmp_path / "3", RIGHT, WRONG, method="redraw_plain", label="again", settings={"threshold": None})
    comparison = compare_runs([one, sampled, labelled])
    assert [row.title for row in comparison.rows][1:] == ["redraw_sampled, threshold 0.9", "again"]
    assert ("redraw_sampled, threshold 0.9: draws again and again, each time from a newly sampled visualisation, and "
            "stops above the threshold (resample).") in comparison.notes  # fmt: skip
    assert ("again (method redraw_plain): draws again and again from the bare prompt, and keeps the best (Best-of-N)."
            ) in comparison.notes  # fmt: skip


def test_a_mean_over_two_judges_says_how_many_samples_each_has(tmp_path):
    prompts = [Prompt("a", "a", metadata={"tag": "colors"}), Prompt("b", "b"), Prompt("c", "c")]
    run = write(tmp_path / "1", RIGHT, RIGHT, WRONG, prompts=prompts, reward="held-out or self", report_metric="")
    expected = "Each prompt has one of two judges (held-out 1 sample, self 2 samples); a mean over both mixes scores"
    assert any(note.startswith(expected) for note in compare_runs([run]).notes)
    alone = write(tmp_path / "2", RIGHT, RIGHT, WRONG, prompts=prompts, reward="self", report_metric="")
    assert not any("two judges" in note for note in compare_runs([alone]).notes)


def test_folders_of_pictures_have_no_searches_curves_and_drawing_costs(tmp_path):
    def score(name, *searches):
        return write(tmp_path / name, *searches, command="score", method="pictures", model="folder", reward="detector",
                     label=name, model_identity={"pictures": name}, settings={"pictures": None})  # fmt: skip

    comparison = compare_runs([score("ours", RIGHT, WRONG), score("theirs", WRONG, WRONG)])
    assert not comparison.searched
    page, text = render(comparison), to_markdown(comparison)
    body = page[page.index("</style>") : page.index("<script")].replace('Search <input type="search"', "")
    for shown in (body, text, str(terminal_rows(comparison))):
        assert "search" not in shown.lower() and "budget" not in shown and "returned" not in shown
        assert "token-steps" not in shown and "drawn" not in shown
    assert "2 pictures for each row, scored by detector." in text
    assert main_table(comparison).header == ["row", "rank", "score", "scored", "difference from ours", "p", "p (Holm)",
                                             "reward calls", "reward s", "in flight"]  # fmt: skip
    mixed = compare_runs([tmp_path / "ours", write(tmp_path / "run", RIGHT, RIGHT)])
    assert mixed.searched and "At equal budgets" in render(mixed)
