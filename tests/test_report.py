"""The report: numbers computed by hand, and a self-contained page."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from milr.report import words
from milr.report.changes import NEW_TEXT, NOTHING_CHANGED
from milr.report.failures import failure_marks, looks_hacked
from milr.report.figures import first_against_best, inline, score_curve
from milr.report.html import write_report
from milr.report.statistics import Interval
from milr.report.summary import summarise, to_csv
from milr.runs.config import prompts_digest
from milr.runs.records import PictureFile, Record, to_record
from milr.runs.store import RunStore
from milr.types import Cost, ImageTrace, ModalityInfo, Outcome, Prompt, Rollout, Score, UsageError
from outcomes import GREEN, RED, config, outcome, picture, step
from page import Page


def record(*arguments, **changes) -> Record:
    sample = outcome(*arguments, **changes)
    return to_record(sample, [PictureFile(f"images/x/{index:03d}.png") for index in range(len(sample.steps))])


def report(folder: Path, *outcomes: Outcome, prompts: Sequence[Prompt] = (), **changes) -> str:
    if prompts:
        changes |= {"prompts_digest": prompts_digest(prompts)}
    with RunStore(folder).open(config(**changes), prompts) as store:
        for each in outcomes:
            store.write(each)
    return write_report(folder).read_text()


# --- summary: golden numbers


def test_summary_of_four_samples_by_hand():
    """Scores first -> returned: 0.25 -> 0.75, 0.5 -> 1 at the threshold, unscored -> 0.5, all unscored."""
    records = [
        record(RED, (0.25, 0.75)),
        record(GREEN, (0.5, 1.0), stop="threshold"),
        record(Prompt("c"), (None, 0.5)),
        record(Prompt("d"), (None, None, None), stop="judge_failed"),
    ]
    summary = summarise(records, threshold_of=lambda category: 0.9)
    assert (summary.samples, summary.prompts) == (4, 4)
    assert (summary.first.n, summary.first.scored, summary.first.mean) == (4, 2, 0.375)
    assert (summary.first.lowest, summary.first.highest) == (0.1875, 0.6875)  # 0.75 / 4 and 2.75 / 4
    assert (summary.returned.scored, summary.returned.mean) == (3, 0.75)
    assert (summary.returned.lowest, summary.returned.highest) == (0.5625, 0.8125)  # 2.25 / 4 and 3.25 / 4
    assert (summary.gain.n, summary.gain.mean) == (2, 0.5)
    assert summary.gain.interval is None, "two equal gains have no spread to resample"
    assert (summary.first.right, summary.returned.right) == (0.0, 1 / 3)
    assert summary.returned.right_interval == pytest.approx((0.0615, 0.7923), abs=1e-4)
    assert summary.reached_threshold == 0.25
    assert summary.stops == {"steps": 2, "threshold": 1, "judge_failed": 1}
    assert summary.pictures == 9 / 4
    assert summary.cost == Cost(9, 90, 9, 4.5, 2.25)
    assert summary.marks == {"unscored": 4}
    assert summary.judged_first is None


def test_each_category_has_its_own_threshold():
    easy, hard = Prompt("a", category="complex"), Prompt("b", category="color")
    records = [record(easy, (0.5,)), record(hard, (0.5,)), record(hard, (0.95,))]
    summary = summarise(records, threshold_of={"complex": 0.4, "color": 0.9}.get)
    assert summary.returned.right == pytest.approx(2 / 3)
    assert {name: part.returned.right for name, part in summary.categories.items()} == {"complex": 1, "color": 0.5}
    assert summarise(records, threshold_of={"complex": 0.4}.get).returned.right == 1, "known of one category only"


def test_the_threshold_is_strict_and_optional():
    records = [record(RED, (0.9,)), record(GREEN, (0.91,))]
    assert summarise(records, threshold_of=lambda category: 0.9).returned.right == 0.5
    assert summarise(records).returned.right is None


def test_text_changes_are_counted_over_update_steps_only():
    steps = (step(0, 0.1), step(1, 0.2, text_changed=True), step(2, 0.3), step(3, 0.4), step(4, 0.5, moved=False))
    summary = summarise([record(steps=steps)])
    assert (summary.update_steps, summary.text_changed, summary.free_tokens) == (3, 1 / 3, {"text": 4.0})
    assert summarise([record(RED, (0.1,))]).text_changed is None


def test_categories_are_summarised_apart():
    summary = summarise([record(RED, (0.2,)), record(GREEN, (0.4,)), record(Prompt("x", category="colors"), (0.8,))])
    assert list(summary.categories) == ["colors", "position"]
    assert summary.categories["colors"].returned.mean == pytest.approx(0.6)
    assert (summary.categories["position"].samples, summary.categories["position"].returned.mean) == (1, 0.2)
    assert summarise([record(Prompt("no category"), (0.2,))]).categories == {}


def test_the_report_metric_is_kept_apart_from_the_search_reward():
    judged = {0: Score(0.8), 1: Score(0.2)}
    summary = summarise([record(RED, judged=judged), record(GREEN)])
    assert summary.judged_first is not None and summary.judged_returned is not None
    assert (summary.judged_first.n, summary.judged_first.mean, summary.judged_returned.mean) == (1, 0.8, 0.2)
    assert summary.marks["possible reward hacking"] == 1


def test_nothing_to_summarise_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        summarise([])


# --- failures


def test_marks_name_each_failure_and_nothing_else():
    def second_step(**changes):
        return to_record(
            outcome(steps=(step(0, 0.5), step(1, 0.5, **changes))), [PictureFile("a"), PictureFile("b")]
        ).steps[1]

    surprising = ModalityInfo(0, 0, 0, 1.5, 0, 1, surprise=9.0)
    assert failure_marks(second_step()) == []
    assert failure_marks(second_step(repetition=0.5)) == [] and failure_marks(second_step(repetition=0.51)) == [
        "text collapse"
    ]
    assert failure_marks(second_step(info={"image": surprising})) == ["image collapse"]
    assert failure_marks(second_step(info={"text": surprising})) == ["text collapse"]
    assert failure_marks(second_step(score=Score.unscored("no"))) == ["unscored"]


def test_hacking_needs_a_rise_and_a_fall():
    def judged(before, after):
        return record(RED, (0.2, 0.8), judged={0: Score(before), 1: Score(after)})

    assert looks_hacked(judged(0.9, 0.1))
    assert not looks_hacked(judged(0.1, 0.9)) and not looks_hacked(judged(0.5, 0.5))
    assert not looks_hacked(judged(0.9, None)) and not looks_hacked(record(RED, (0.2, 0.8)))


# --- words


def test_scores_in_words():
    summary = summarise([record(RED, (None,)), record(GREEN, (0.5,))]).first
    assert words.scores(summary) == "0.50, 1 scored of 2, bounds 0.25 to 0.75"
    assert words.number(None) == "unscored" and words.share(None) == "–"
    assert words.share(1 / 3) == "33 %" and words.share(0.5, Interval(0.0625, 1.0)) == "50 % [6 %, 100 %]"
    assert words.interval(Interval(0.1, 0.25)) == "[0.10, 0.25]"


# --- figures


def test_figures_are_svg_or_png_and_repeatable():
    sample = record(RED, (0.1, None, 0.8), judged={2: Score(0.4)})
    assert score_curve(sample, threshold=0.9).startswith(b"<?xml") and score_curve(sample) == score_curve(sample)
    assert score_curve(sample, format="png").startswith(b"\x89PNG")
    assert first_against_best([sample, record(GREEN)]).startswith(b"<?xml")


def test_a_figure_shows_what_the_sample_has():
    def svg(sample, **options):
        return score_curve(sample, **options).decode()

    plain = svg(record(RED, (0.1, 0.8)))
    assert "unscored" not in plain and "threshold" not in plain and "report metric" not in plain
    assert "unscored" in svg(record(RED, (0.1, None))) and "threshold" in svg(record(RED), threshold=0.9)
    assert "report metric" in svg(record(RED, judged={1: Score(0.4)}))
    assert "unscored" in svg(record(RED, (None, None), best=None))


def test_an_inlined_figure_has_no_addresses_and_the_pages_ink():
    text = inline(score_curve(record()), 'a "quoted" <label>')
    assert text.startswith('<svg role="img" aria-label="a quoted label"')
    assert "http" not in text and "currentColor" in text and "<g id" not in text


# --- the page


def test_page_is_self_contained_and_well_formed(tmp_path):
    text = report(tmp_path, outcome(), outcome(GREEN, (0.5,), stop="threshold"))
    page = Page(text)
    pictures = page.named("img")
    assert len(pictures) == 2 + 1 + 2 + 1  # first and returned of each sample (once where it is the first), each step
    assert all(image["src"].startswith("data:image/png;base64,") and image["alt"] for image in pictures)
    assert all(image["class"] == "pixelated" for image in pictures)
    assert not re.search(r"""(src|href|url\(|@import)[\s=("']*(https?:)?//""", text)
    assert len(page.named("script")) == 1 and not page.named("link") and not page.named("a")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes and "sample-" in attributes["id"]]
    assert ids == ["sample-0", "sample-1"]
    assert "prefers-color-scheme" in text and 'name="viewport"' in text


def test_page_escapes_what_people_and_models_wrote(tmp_path):
    evil = '<script>alert(1)</script> & "co"'
    rollout = replace(step(1, 0.5).rollout.visualisation, text=f"new {evil}")
    steps = (step(0, 0.1, f"old {evil}"), step(1, 0.5, rollout=replace(step(1, 0.5).rollout, visualisation=rollout),
                                               score=Score(0.5, {evil: 0.5}, evil)))  # fmt: skip
    text = report(tmp_path, outcome(Prompt(evil, evil, evil), steps=steps), settings={"note": evil})
    assert text.count("<script") == 1 and "&lt;script&gt;alert(1)" in text
    Page(text)


def test_only_the_pages_own_script_may_run(tmp_path):
    text = report(tmp_path, outcome(), outcome(GREEN))
    (script,) = re.findall(r"<script[^>]*>(.*?)</script>", text, flags=re.DOTALL)
    policy = next(meta["content"] for meta in Page(text).named("meta") if "http-equiv" in meta)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert not [name for _, attributes in Page(text).tags for name in attributes if name.startswith("on")]
    assert "innerHTML" not in script and "insertAdjacentHTML" not in script and "eval" not in script


def test_headline_of_one_sample(tmp_path):
    text = report(tmp_path, outcome(stop="threshold"), oracle=True, prompt_count=1)
    headline = re.sub(r"<[^>]+>|\s+", " ", text[text.index("<header>") : text.index("</header>")])
    headline = re.sub(r" +", " ", headline)
    assert "a red star left of a blue circle" in headline and "Score 0.25 → 0.75" in headline
    assert "oracle" in headline and "unfinished" not in headline
    assert text.count("Stopped: a score above the threshold. Cost: 2 pictures, 20 token-steps, 2 reward calls") == 1
    assert "nano is not known to be one of the paper" in visible(text)
    assert len(Page(text).named("details")[0]) == 1, "a single sample is unfolded"


def test_a_run_with_another_metric_is_not_called_oracle_and_an_unfinished_one_says_so(tmp_path):
    text = report(tmp_path, outcome(), prompt_count=3)
    assert "oracle</span>" not in text
    assert "1 of 3 samples" in text


def test_text_changes_show_as_a_diff_and_equal_texts_are_not_repeated(tmp_path):
    steps = (step(0, 0.1, "a red star"), step(1, 0.2, "a blue star"), step(2, 0.3, "a blue star"), step(3, 0.4, None))
    text = report(tmp_path, outcome(steps=steps))
    assert "<del>red </del><ins>blue </ins>star" in text
    assert text.count("text unchanged") == 1 and text.count("drawn from the bare prompt") == 1


def test_settings_marks_and_facts_are_on_the_page(tmp_path):
    bad = step(1, None, repetition=0.8, text_changed=True)
    text = report(tmp_path, outcome(steps=(step(0, 0.1), bad), best=0, returned=0))
    for expected in ("learning_rate</td><td>0.03", "⚠ text collapse", "⚠ unscored", "no shape found",
                     "near ties", "distance 0.25", "1 of 4 free text tokens changed", "unscored: 1"):  # fmt: skip
        assert expected in text, expected


def test_the_released_presets_last_picture_is_told_from_the_best(tmp_path):
    text = report(tmp_path, outcome(scores=(0.2, 0.9, 0.4), best=1, returned=2))
    assert "The returned picture is that of step 2 (0.40), not the best" in text
    assert "Returned: 0.40" in text and "step 1 (0.90)" in text


def test_first_and_best_scores_are_drawn_where_there_are_more_than_right_and_wrong(tmp_path):
    graded = [outcome(Prompt(f"prompt {n}"), (n / 10, 0.9)) for n in range(5)]
    binary = [outcome(Prompt(f"prompt {n}"), (0.0, float(n % 2))) for n in range(5)]
    assert "First against best score" in report(tmp_path / "graded", *graded, prompt_count=5)
    assert "First against best score" not in report(tmp_path / "binary", *binary, prompt_count=5)


def test_many_samples_show_steps_of_the_first_fifty_only(tmp_path):
    many = [outcome(Prompt(f"prompt {number:03d}"), (0.2, 0.4, 0.6)) for number in range(53)]
    text = report(tmp_path, *many, prompt_count=53)
    page = Page(text)
    assert len(page.named("img")) == 50 * (2 + 3) + 3 * 2
    assert len(page.named("svg")) == 50
    assert len(page.named("details")) == 54 and not any("open" in attributes for attributes in page.named("details"))
    assert text.index("Samples</h2>") < text.index("<details>") < text.index("Numbers</h2>")


def test_large_pictures_are_embedded_small_and_not_pixelated(tmp_path):
    big = Rollout(None, ImageTrace((1,)), picture(3, side=640))
    text = report(tmp_path, outcome(steps=(step(0, 0.5, rollout=big),)))
    assert "data:image/jpeg;base64," in text and 'class="pixelated"' not in text


def test_first_and_returned_pictures_are_the_largest(tmp_path):
    big = Rollout(None, ImageTrace((1,)), picture(3, side=640))
    text = report(tmp_path, outcome(steps=[step(index, index / 10, rollout=big) for index in range(3)]))
    contents = [base64.b64decode(image["src"].partition(",")[2]) for image in Page(text).named("img")]
    assert [Image.open(io.BytesIO(content)).width for content in contents] == [176, 176, 448, 256, 448]


def test_a_missing_picture_is_said(tmp_path):
    report(tmp_path, outcome())
    next(tmp_path.glob("images/*/001.png")).unlink()
    text = write_report(tmp_path).read_text()
    assert text.count("picture missing") == 2


def test_json_and_csv_hold_the_same_numbers(tmp_path):
    report(tmp_path, outcome(judged={1: Score(0.6)}), outcome(GREEN, (None,), best=None))
    numbers = json.loads((tmp_path / "report.json").read_text())
    assert numbers["returned"]["mean"] == 0.75 and numbers["returned"]["scored"] == 1
    assert numbers["digest"] == config().digest and numbers["config"]["settings"]["learning_rate"] == 0.03
    rows = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text())))
    rows.sort(key=lambda row: row["category"])
    assert [row["returned_score"] for row in rows] == ["", "0.75"] and rows[1]["judged_returned"] == "0.6"
    assert rows[1]["pictures"] == "2" and rows[0]["judged_returned"] == ""


def test_csv_quotes_what_needs_it():
    (row,) = csv.DictReader(io.StringIO(to_csv([record(Prompt('a "b", c\nd'))]).decode(), newline=""))
    assert row["prompt"] == 'a "b", c\nd'


def test_report_of_nothing_says_what_to_do(tmp_path):
    with pytest.raises(UsageError, match="holds no run"):
        write_report(tmp_path)
    RunStore(tmp_path).open(config()).close()
    with pytest.raises(UsageError, match="no finished sample"):
        write_report(tmp_path)


def test_a_report_can_be_written_while_the_run_goes_on_and_leaves_no_leftovers(tmp_path):
    with RunStore(tmp_path).open(config()) as store:
        store.write(outcome())
        heard = []
        assert write_report(tmp_path, on_progress=lambda *progress: heard.append(progress)) == tmp_path / "report.html"
    assert heard == [(1, 1)]
    assert not list(tmp_path.glob("*.partial")) and not list(tmp_path.glob(".*.partial"))


def test_samples_are_in_the_order_of_the_prompts_file(tmp_path):
    prompts = [Prompt("zebra"), Prompt("apple"), Prompt("mango")]
    text = report(tmp_path, *(outcome(prompt) for prompt in sorted(prompts, key=lambda each: each.text)),
                  prompts=prompts, prompt_count=3)  # fmt: skip
    assert re.findall('class="prompt">(.*?)<', text) == ["zebra", "apple", "mango"]
    rows = csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text(), newline=""))
    assert [row["prompt"] for row in rows] == ["zebra", "apple", "mango"]


def visible(text: str) -> str:
    """The text of a page without tags and superfluous spaces."""
    return re.sub(r"\s+", " ", re.sub(r"<(style|script)\b.*?</\1>|<[^>]+>", " ", text, flags=re.DOTALL))


def test_each_sample_says_what_the_updates_changed(tmp_path):
    changed = (step(0, 0.1, ids=(5, 6)), step(1, 0.9, "a moon", ids=(7, 6), text_changed=True))
    again = (step(0, 0.1, ids=(5, 6)), step(1, 0.9, ids=(5, 6), moved=False))
    text = visible(report(tmp_path, outcome(RED, steps=changed), outcome(GREEN, steps=again)))
    assert text.count("Returned picture: 1 of 4 free text tokens changed.") == 1
    assert text.count(f"Returned picture: {NOTHING_CHANGED}.") == 1
    assert "The text changed in 100 % of 1 update step" in text


def test_a_changed_text_is_named_at_steps_that_move_the_image_alone(tmp_path):
    text = step(1, 0.2, "a moon", text_changed=True, tokens_by_updates={"text": 3, "image": 0})
    image = {"image": ModalityInfo(-0.5, 2.0, 0.1, 0.25, 5, 11)}
    drawn = step(2, 0.9, "a moon", moved=False, info=image, tokens_by_updates={"text": 3, "image": 2})
    again = step(3, 0.1, "a moon", moved=False, tokens_by_updates={"text": 3, "image": 2})
    steps = (step(0, 0.1), text, replace(drawn, moved=("image",)), again)
    page = visible(report(tmp_path, outcome(steps=steps)))
    both = "3 of 4 free text tokens and 2 of 11 free image tokens changed"
    assert f"Returned picture: {both}." in page and page.count(f"{both} ") == 2  # steps 2 and 3
    assert "where the latents without any update give another one" in page and "by chance alone" not in page


def test_frozen_is_shown_as_drawn_again(tmp_path):
    unmoved = ModalityInfo(-0.5, 2.0, 0.0, 0.0, 1, 4)
    frozen = step(1, 0.9, ids=(5, 6), info={"text": replace(unmoved, tokens_changed=0), "image": unmoved})
    text = visible(report(tmp_path, outcome(steps=(step(0, 0.1, ids=(5, 6)), frozen)), method="frozen"))
    assert text.count(NOTHING_CHANGED) >= 2 and "tokens changed" not in text and "moved text" not in text
    assert "No latents moved: every picture after the first was drawn again." in text
    assert "update steps" not in text and "text update" not in text and "image update" not in text
    assert "Method frozen: latent_reasoning with learning rate 0" in text


def test_redrawing_names_the_method_and_explains_it(tmp_path):
    resampled = step(1, 0.9, "another text", ids=(1, 2), moved=False, text_changed=True)
    text = visible(report(tmp_path, outcome(steps=(step(0, 0.1), resampled)), method="redraw_sampled"))
    expected = "redraw_sampled: draws again and again, each time from a newly sampled visualisation, and stops above"
    assert f"Method {expected} the threshold (resample)." in text and NEW_TEXT in text


def test_two_judges_have_two_means(tmp_path):
    bare = [Prompt("x"), Prompt("y")]
    outcomes = [outcome(RED, (0.2, 0.4)), *(outcome(prompt, (0.5, 1.0)) for prompt in bare)]
    text = report(tmp_path, *outcomes, reward="held-out or self", report_metric="", prompt_count=3)
    page = visible(text)
    assert "Mean score 0.20 → 0.40 by held-out (1 sample)" in page
    assert "Mean score 0.50 → 1.00 by self (2 samples)" in page
    assert "search reward (held-out) 1 0.20 0.40" in page and "search reward (self) 2 0.50 1.00" in page
    assert "Gain by held-out 0.20" in page and "Gain by self 0.50" in page
    assert "0.80" not in page, "the mean over both judges is no result"
    numbers = json.loads((tmp_path / "report.json").read_text())
    assert {name: part["samples"] for name, part in numbers["judges"].items()} == {"held-out": 1, "self": 2}


def test_scored_folders_do_not_speak_of_searches(tmp_path):
    scored = outcome(GREEN, (0.8,), judged={0: Score(0.8)})
    fields = dict(command="score", method="pictures", model="folder", reward="detector", report_metric="detector",
                label="theirs", settings={})  # fmt: skip
    text = report(tmp_path, scored, outcome(RED, (0.4,), judged={0: Score(0.4)}), **fields)
    Page(text)
    page = visible(text[: text.index('<h2 id="settings">')])
    assert "Pictures of theirs, judged by detector" in page and "Mean score 0.60" in page
    for word in ("search", "step", "stopped", "returned", "budget", "first", "drawn", "→", "gain"):
        assert word not in page.lower(), word
    assert "2 of 2 scored" in page and "made by any tool" in page


@pytest.mark.parametrize("command", ["generate", "score"])
def test_samples_beyond_the_pictured_ones_are_links_to_their_files(tmp_path, monkeypatch, command):
    monkeypatch.setattr("milr.report.html.FULL", 2)
    monkeypatch.setattr("milr.report.html.CURVES", 1)
    monkeypatch.setattr("milr.report.html.PICTURED", 3)
    many = [outcome(Prompt(f"prompt {number}"), (0.2, 0.4)) for number in range(5)]
    text = report(tmp_path, *many, prompt_count=5, command=command)
    page = Page(text)
    targets = [attributes["href"] for attributes in page.named("a")]
    files = [target for target in targets if not target.startswith("#")]
    assert all((tmp_path / target).is_file() for target in files) and targets[-2:] == files[-2:]
    steps = [Path(target).name for target in files[:-2]]  # of the third sample, which is no longer shown whole
    assert steps == (["000.png", "001.png"] if command == "generate" else [])
    assert targets[: -len(files)] == ([f"#sample-{index}" for index in range(3)] if command == "score" else [])
    assert "picture missing" not in text and "pictures of the first 3 samples are shown" in text
    assert len(page.named("svg")) == (1 if command == "generate" else 0)
