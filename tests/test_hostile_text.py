"""What people, models and servers wrote is shown as text: in pages, tables, CSV, on the terminal and in log lines."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import warnings
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from milr.outside.logs import logger
from milr.report.compare.comparison import compare_runs
from milr.report.compare.export import to_csv
from milr.report.compare.markdown import _line, _table, to_markdown
from milr.report.compare.page import render
from milr.report.compare.tables import Table
from milr.report.figures import Line, budget_curves
from milr.report.html import write_report
from milr.runs.config import prompts_digest
from milr.runs.store import RunStore
from milr.types import MilrWarning, Prompt, Score, TextTrace, UsageError
from milr.workflows.unscored import warn, warn_unscored
from outcomes import config, outcome, step

EVIL = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<!-- --><style>*{display:none}</style>",
    "&lt;b&gt; &amp; {{ 7 * 7 }} {% if %}",
    "</title></svg></td><iframe src=//x>",
    "[here](http://evil.example) ![x](http://evil.example/x.png) | another cell | `code` **bold** _em_ ~~gone~~",
)
CONTROLS = "a\x1b[31mred\x1b[0m\x1b]0;title\x07 \x9b2J"
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


class Page(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def make_run(folder: Path, text: str, **changes: Any) -> Path:
    """A run in which prompt, id, category, visualisation, reasons, parts, note, label and notes are all `text`."""
    prompt = Prompt(text, text, text)
    old = step(0, 0.1, f"old {text}")
    rollout = replace(step(1, 0.5).rollout, visualisation=TextTrace(f"new {text}", (1, 2)))
    steps = (old, step(1, 0.5, rollout=rollout, score=Score(0.5, {text: 0.5}, text), note=text))
    fields: dict[str, Any] = dict(prompts_digest=prompts_digest([prompt]), prompt_count=1, label=text, notes=(text,),
                                  reward=text, report_metric=text, benchmark=text, model=text,
                                  settings={text: text})  # fmt: skip
    with RunStore(folder).open(config(**fields | changes), [prompt]) as store:
        store.write(outcome(prompt, steps=steps, judged={0: Score(0.1, {text: 0.1}, text), 1: Score(0.5, {}, text)}))
    return folder


def test_pages_show_text_as_text(tmp_path: Path) -> None:
    evil, pages = " ".join(EVIL), []
    for name, text in (("plain", "a green square"), ("evil", evil)):
        runs = [make_run(tmp_path / name / method, text, method=method) for method in ("redraw_plain", "frozen")]
        pages.append([Page(write_report(runs[0]).read_text(encoding="utf-8")), Page(render(compare_runs(runs)))])
    for plain, harmed in zip(*pages, strict=True):
        kinds = [[tag for tag, _ in page.tags if tag not in ("ins", "del", "wbr")] for page in (plain, harmed)]
        assert kinds[0] == kinds[1], "no tag comes from the text"
        names = [{name for _, attributes in page.tags for name in attributes} for page in (plain, harmed)]
        assert names[0] == names[1], "and no attribute"
        assert evil in "".join(harmed.words)


@pytest.mark.parametrize("name", ["$x^$", "_hidden", "\u8d64\u3044\u661f", "a $ b", "\\frac"])
def test_a_figure_names_every_row_as_it_is_called(name: str) -> None:
    svg = budget_curves([Line(name, [1, 2], [0.1, 0.2], [None, None])], "pictures").decode()
    assert html.escape(name, quote=False) in svg.replace("\u200b", "")


def texts_of(markdown: str) -> tuple[set[str], str]:
    """The kinds of the inline parts of a Markdown text, and its words."""
    inline = [child for token in MARKDOWN.parse(markdown) for child in token.children or ()]
    return {token.type for token in inline}, "".join(token.content for token in inline)


def test_markdown_shows_text_as_text(tmp_path: Path) -> None:
    evil = " ".join(EVIL)
    runs = [make_run(tmp_path / method, evil, method=method) for method in ("redraw_plain", "frozen")]
    text = to_markdown(compare_runs(runs))
    kinds, words = texts_of(text)
    assert kinds <= {"text", "softbreak", "text_special"} and evil in words
    tokens = MARKDOWN.parse(text)
    assert not [token for token in tokens if token.type.startswith(("html", "code", "fence"))]
    headings = [tokens[index + 1].content for index, token in enumerate(tokens) if token.type == "heading_open"]
    assert len(headings) == len(re.findall(r"^#+ ", text, flags=re.MULTILINE))


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("ab1 \\`*_{}[]<>()#+-.!|&~:;=\"'/\n\t$^"), max_size=30))
def test_any_text_comes_through_markdown(text: str) -> None:
    shown = " ".join(text.split())
    for markdown in (f"# {_line('x ' + text)}", f"* {_line(text)}", _table(Table(["a", "b"], [["x" + text, "y"]]))):
        kinds, words = texts_of(markdown)
        assert kinds <= {"text", "softbreak", "text_special"}
        assert " ".join(shown.split()) in " ".join(words.split())
    assert len([token for token in MARKDOWN.parse(markdown) if token.type == "td_open"]) == 2


@pytest.mark.parametrize("sign", ["@", "\t="])
def test_every_csv_has_texts_and_no_formulas(tmp_path: Path, sign: str) -> None:
    evil = f"{sign}1+1"
    runs = [make_run(tmp_path / method, evil, method=method) for method in ("redraw_plain", "frozen")]
    write_report(runs[0])
    for content in ((runs[0] / "table.csv").read_text(encoding="utf-8"), to_csv(compare_runs(runs))):
        rows = list(csv.DictReader(io.StringIO(content, newline="")))
        cells = [cell for row in rows for cell in row.values() if cell and not re.fullmatch(r"[-+]?[\d.e-]+", cell)]
        assert any(cell.startswith(f"'{evil}") for cell in cells), "the text is there, with an apostrophe"
        assert not [cell for cell in cells if cell.lstrip().startswith(("=", "+", "-", "@"))]


def test_the_terminal_gets_no_escapes_of_a_run(tmp_path: Path, milr) -> None:
    make_run(tmp_path / "run", CONTROLS)
    (tmp_path / "run" / "records" / f"{CONTROLS.replace('/', '')}.json").write_text("{")
    commands = [("report", "run"), ("compare", "run", "--partial"), ("compare", "run", "--partial", "--json"),
                ("doctor", "run"), ("doctor", "run", "--repair")]  # fmt: skip
    for command in commands:
        code, printed, errors = milr(*command)
        assert code in (0, 3) and not re.search("[\x1b\x07\x9b]", printed + errors), command
        if "--json" in command:
            json.loads(printed)
    assert not re.search("[\x1b\x07\x9b]", (tmp_path / "comparison" / "compare.md").read_text(encoding="utf-8"))


def test_lone_surrogates_fail_nothing(tmp_path: Path, milr) -> None:
    bad = "a\ud800b"
    steps = (step(0, 0.5, bad, score=Score(0.5, {}, bad), note=bad),)
    with RunStore(tmp_path / "run").open(config(prompt_count=1)) as store:
        store.write(outcome(steps=steps, judged={0: Score(None, {}, bad)}))
        (record,) = store.records()
    kept = record.steps[0]
    assert [kept.visualisation, kept.reason, kept.note, kept.judged and kept.judged.reason] == ["a?b"] * 4
    assert milr("report", "run")[0] == 0 and milr("compare", "run")[0] == 0
    code, _, error = milr("generate", bad)
    assert code == 2 and "not valid Unicode" in error and error.isprintable() is False and error[:-1].isprintable()


def test_log_lines_are_clean(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "zq7-opaque-key-0123456789"
    monkeypatch.setenv("JUDGE_API_KEY", secret)
    for _ in range(2):
        logger("milr.some.module").warning("%s cannot be read (%s) 100%%", CONTROLS + "\ud800", OSError(secret))
    assert [record.getMessage() for record in caplog.records] == [
        r"ared \x9b2J\ud800 cannot be read (***) 100%"] * 2  # fmt: skip


def test_warnings_are_clean() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn([CONTROLS])
        warn_unscored([CONTROLS])
    assert [each.category for each in caught] == [MilrWarning] * 2
    assert (
        str(caught[0].message) == r"ared \x9b2J"
        and str(caught[1].message).isprintable()
        and str(UsageError(CONTROLS)) == r"ared \x9b2J"
    )


def test_all_log_lines_go_through_the_cleaner() -> None:
    package = Path(__file__).parents[1] / "src" / "milr"
    users = {path.name for path in package.rglob("*.py") if "getLogger(" in path.read_text(encoding="utf-8")}
    assert users == {"logs.py", "quantised.py"}, "the second only makes another library quieter"
