"""The page of a comparison: its verdict in words, and the grid of prompts and rows."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

from milr.report.compare import grid, sentences
from milr.report.compare.comparison import compare_runs
from milr.report.compare.export import to_json
from milr.report.compare.grid import picture_grid
from milr.report.compare.markdown import to_markdown
from milr.report.compare.page import render, write_page
from milr.report.compare.tables import main_table, split_costs
from milr.runs.config import prompts_digest
from milr.runs.store import RunStore
from milr.types import Prompt
from page import Page
from test_compare import BASE, RIGHT, WRONG, write

PROMPTS = [Prompt(f"p{n}", f"p{n}", "colors" if n < 6 else "counting") for n in range(8)]


def half(score: float) -> list[tuple[float | None, float | None]]:
    return [(1.0, score)]


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """They differ on p3 (by 1), p5 and p1 (by a half); p7 is unscored by the second."""
    low = [WRONG, half(0.5), WRONG, WRONG, WRONG, WRONG, RIGHT, RIGHT]
    high = [WRONG, RIGHT, WRONG, RIGHT, WRONG, half(0.5), RIGHT, [(1.0, None)]]
    return [write(tmp_path / "low #1", *low, prompts=PROMPTS, method="plain"),
            write(tmp_path / "high", *high, prompts=PROMPTS)]  # fmt: skip


# The verdict


def test_the_verdict_says_who_is_ahead_and_what_can_be_told_apart(tmp_path):
    none, some, every = (
        write(tmp_path / name, *[RIGHT] * right, *[WRONG] * (8 - right), prompts=PROMPTS[:1] * 0 + [
            Prompt(f"p{n}", f"p{n}", "colors") for n in range(8)], method=name)
        for name, right in (("plain", 0), ("some", 2), ("all", 8))
    )  # fmt: skip
    ahead, third, second = sentences.verdict(compare_runs([none, some, every]))
    assert ahead.startswith("all scores highest: 1.000 [")
    assert second.startswith("some cannot be told apart from plain: +0.250 [") and second.endswith(
        "better on 2 of 8 samples, worse on 0.")  # fmt: skip
    assert third.startswith("all does better than plain: +1.000") and "p 0.016; better on 8 of 8 samples" in third
    (_, _, worse) = sentences.verdict(compare_runs([none, some, every], against="all"))
    assert worse.startswith("plain does worse than all: -1.000")
    assert all(sentence in to_markdown(compare_runs([none, some, every])) for sentence in (ahead, third))


def test_the_verdict_of_one_row_and_of_equal_rows(tmp_path):
    one = write(tmp_path / "1", RIGHT, WRONG)
    (alone,) = sentences.verdict(compare_runs([one]))
    assert alone.startswith("latent_reasoning scores 0.500")
    equal = compare_runs([one, write(tmp_path / "2", RIGHT, WRONG, method="plain")])
    assert sentences.verdict(equal)[0].startswith("latent_reasoning and plain score highest: 0.500")


def test_unscored_pictures_leave_the_verdict_open(two):
    comparison = compare_runs(two)
    open_ranks = replace(comparison, rows=tuple(replace(row, rank=None) for row in comparison.rows))
    assert sentences.verdict(open_ranks)[0] == "Unscored pictures leave it open which row is ahead."
    untested = replace(comparison.rows[1], overall=replace(comparison.rows[1].overall, paired=None))
    assert "was not tested against plain" in sentences.verdict(
        replace(comparison, rows=(comparison.rows[0], untested)))[1]  # fmt: skip


def test_scores_and_costs_are_two_tables(two):
    whole = main_table(compare_runs(two))
    scores, costs = split_costs(whole)
    assert scores.header[0] == costs.header[0] == "row" and "p (Holm)" in scores.header
    assert costs.header[1:] == whole.header[len(scores.header) :] and "peak memory" in costs.header
    assert [len(row) for row in costs.rows] == [len(costs.header)] * 2


# The grid


def test_samples_on_which_the_rows_differ_come_first_then_the_order_of_the_prompts(two):
    samples = compare_runs(two).pictures
    assert [sample.prompt for sample in samples] == ["p3", "p1", "p5", "p0", "p2", "p4", "p6", "p7"]
    assert [sample.spread for sample in samples] == [1.0, 0.5, 0.5, 0, 0, 0, 0, 0]


def test_the_order_of_the_prompts_is_that_of_their_file(tmp_path):
    prompts = [Prompt("zebra"), Prompt("apple"), Prompt("mole")]
    runs = [write(tmp_path / name, RIGHT, RIGHT, RIGHT, prompts=prompts, method=name,
                  prompts_digest=prompts_digest(prompts)) for name in ("plain", "other")]  # fmt: skip
    with RunStore(runs[0]).open(RunStore(runs[0]).run().config, prompts):
        pass
    assert [sample.prompt for sample in compare_runs(runs).pictures] == ["zebra", "apple", "mole"]
    (runs[0] / "prompts.jsonl").write_text("damaged")
    assert len(compare_runs(runs).pictures) == 3, "the order alone is lost"


def test_cards_have_what_the_script_filters_and_sorts_by(two, tmp_path):
    comparison = compare_runs(two)
    found = picture_grid(comparison, tmp_path)
    assert [card.marks for card in found.cards] == ["differ"] * 3 + ["same"] * 4 + ["same unscored"]
    assert found.cards[0].scores == "0 1" and found.cards[-1].scores == "1 -"
    assert [[shot.best for shot in card.shots] for card in found.cards[:4]] == [[False, True]] * 3 + [[False, False]]
    assert [(each.text, each.count) for each in found.categories] == [("colors", 6), ("counting", 2)]
    assert [(each.key, each.count) for each in found.marks] == [("differ", 3), ("same", 5), ("unscored", 1)]
    assert found.reference == 0 and not found.several and not found.linked


def test_pictures_beyond_the_first_are_links_into_the_runs(two, tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "EMBEDDED", 5)  # two cards of two pictures
    path = write_page(compare_runs(two), tmp_path / "deep" / "er" / "page.html")
    page = Page(path.read_text())
    sources = [image["src"] or "" for image in page.named("img")]
    assert [source.startswith("data:") for source in sources] == [True] * 4 + [False] * 12
    assert all((path.parent / unquote(source)).is_file() for source in sources[4:])
    assert sources[4].startswith("../../low%20%231/images/"), "an address, not a path"
    assert {image["loading"] for image in page.named("img")} == {"lazy"}
    policy = page.named("meta")[2]["content"] or ""
    assert "img-src data: 'self' file:;" in policy and "From sample 3 on" in path.read_text()
    monkeypatch.undo()
    assert "img-src data:;" in render(compare_runs(two), tmp_path)


def test_missing_and_damaged_pictures_are_said(two, tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "EMBEDDED", 2)
    images = sorted((two[0] / "images").rglob("*.png"))
    images[0].write_bytes(b"damaged")  # p0
    comparison = compare_runs(two)
    images[5].unlink()  # p5, after it was read
    cards = {card.sample.prompt: card for card in picture_grid(comparison, tmp_path).cards}
    assert [bool(shot.address.shown) for shot in cards["p0"].shots] == [False, True]
    assert [bool(shot.address.shown) for shot in cards["p5"].shots] == [False, True]
    assert render(comparison, tmp_path).count("picture missing") == 2


def test_the_grid_says_what_the_updates_did_once_for_rows_that_share_it(two):
    card = next(iter(picture_grid(compare_runs(two), Path()).cards))
    assert card.changes == (("the first picture was kept", "plain, latent_reasoning"),)


def test_compare_json_is_without_the_grid(two):
    assert "pictures" not in json.loads(to_json(compare_runs(two)))


def test_one_row_has_no_grid_and_no_script(two):
    comparison = compare_runs(two[:1])
    assert comparison.pictures == () and "<script" not in render(comparison) and "script-src" not in render(comparison)


def test_markup_in_prompts_and_names_is_text(tmp_path):
    evil = '"><img src=x onerror=alert(1)> <b>'
    prompts = [Prompt(evil, "e", evil)]
    runs = [write(tmp_path / "1", RIGHT, prompts=prompts, label=evil), write(tmp_path / "2", WRONG, prompts=prompts)]
    text = render(compare_runs(runs))
    assert not re.search(r"<img src=x|<b>\s*<", text) and len(Page(text).named("img")) == 2
    assert BASE["benchmark"] in text
