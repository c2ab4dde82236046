"""A bundle of runs: what its pages hold and link to, what is compared, and what it refuses to replace."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from typer.testing import CliRunner

from milr.cli.app import app
from milr.report import html
from milr.report.bundle import site
from milr.report.bundle.copies import folder_names
from milr.report.bundle.site import write_bundle
from milr.runs.store import RunStore
from milr.types import Outcome, Prompt, UsageError
from outcomes import GREEN, RED, config, outcome

HOSTILE = Prompt("<script>alert(1)</script><body>\"'><img src=https://example.com/x.png>", "hostile")


def make_run(folder: Path, *outcomes: Outcome, **changes) -> Path:
    found = outcomes or (outcome(RED), outcome(GREEN))
    with RunStore(folder).open(config(prompt_count=len(found), report_metric="", **changes)) as store:
        for each in found:
            store.write(each)
    return folder


class Page(HTMLParser):
    """The addresses, the policy and the scripts of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.policy = ""
        self.path = path
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        fields = dict(attrs)
        self.tags.append(tag)
        if fields.get("http-equiv") == "Content-Security-Policy":
            self.policy = fields["content"] or ""
        for name in ("href", "src", "action", "poster", "data", "srcset", "xlink:href"):
            if address := fields.get(name):
                self.addresses.append(address)


def pages(folder: Path) -> list[Page]:
    return [Page(path) for path in sorted(folder.rglob("*.html"))]


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_links(folder: Path) -> None:
    """Every address is in its page, data, or a file of the bundle."""
    for page in pages(folder):
        assert page.policy.startswith("default-src 'none'"), page.path
        for address in page.addresses:
            if not address.startswith(("#", "data:image/")):
                target = (page.path.parent / unquote(address.split("#")[0])).resolve()
                assert ":" not in address and target.is_file(), (page.path, address)
                assert target.is_relative_to(folder.resolve()), (page.path, address)


# --- what it holds


def test_runs_and_their_comparison(tmp_path):
    first = make_run(tmp_path / "Plain Run", method="best_of_n")
    second = make_run(tmp_path / "milr", outcome(RED, (0.25, 1.0)), outcome(GREEN))
    out = tmp_path / "site"
    written = write_bundle([first, second], out, title="Stars & circles")
    assert (written.page, written.comparisons, written.alone) == (out / "index.html", 1, {})
    check_links(out)
    assert [page.path.relative_to(out).as_posix() for page in pages(out)] == [
        "comparisons/1-prompts/compare.html", "index.html", "runs/milr/report.html", "runs/plain-run/report.html",
    ]  # fmt: skip
    index = (out / "index.html").read_text()
    assert "<h1>Stars &amp; circles</h1>" in index and "0.88" in index and "0.75" in index
    assert 'href="comparisons/1-prompts/compare.html"' in index and 'href="runs/milr/report.html"' in index
    assert len(list((out / "runs/milr/images").rglob("*.png"))) == 4
    for page in pages(out / "runs") + pages(out / "comparisons"):
        assert "../../index.html" in page.addresses


def test_records_and_paths_of_this_machine_are_not_published(tmp_path):
    out = tmp_path / "site"
    other = make_run(tmp_path / "b", outcome(RED, (0.25, 1.0)), outcome(GREEN), method="best_of_n")
    write_bundle([make_run(tmp_path / "run"), other], out)
    for name, content in files(out).items():
        assert not name.endswith(("run.json", "prompts.jsonl", ".lock")) and "records/" not in name
        assert str(tmp_path).encode() not in content and b"milr-bundle" not in content, name
    comparison = json.loads((out / "comparisons/1-prompts/compare.json").read_text())
    pictures = [shot["picture"] for example in comparison["examples"] for shot in example["shots"]]
    assert pictures and all((out / "comparisons/1-prompts" / picture).is_file() for picture in pictures)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_runs_stay_as_they_are(tmp_path):
    run = make_run(tmp_path / "run")
    before = files(run)
    write_bundle([run], tmp_path / "site")
    assert files(run) == before


def test_hostile_text_is_text(tmp_path):
    run = make_run(tmp_path / "<img src=x>", outcome(HOSTILE), benchmark="<b>x", label="<script>")
    other = make_run(tmp_path / "other", outcome(HOSTILE), benchmark="<b>x", label="<i>", method="best_of_n")
    out = tmp_path / "site"
    write_bundle([run, other], out, title="</title><script>1</script>")
    check_links(out)
    assert not any("example.com" in address for page in pages(out) for address in page.addresses)
    assert "script" not in Page(out / "index.html").tags and "b" not in Page(out / "index.html").tags
    assert sorted(path.name for path in (out / "runs").iterdir()) == ["img-src-x", "other"]


def test_a_damaged_picture_and_one_behind_a_link_are_not_published(tmp_path):
    run = make_run(tmp_path / "run")
    red, green = RunStore(run).in_prompt_order(RunStore(run).records())
    secret = b"of another folder"
    (run / red.first.picture).write_bytes(secret)
    behind = (run / green.first.picture).parent
    behind.rename(tmp_path / "elsewhere")
    behind.symlink_to(tmp_path / "elsewhere")
    written = write_bundle([run], tmp_path / "site")
    assert [path.name for path in (tmp_path / "site").rglob("*.png")] == ["001.png"]
    assert secret not in b"".join(files(tmp_path / "site").values())
    assert written.damaged[run] == 2
    check_links(tmp_path / "site")


def test_first_and_returned_pictures_are_files_and_all_steps_where_they_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(html, "FULL", 1)
    scores = (0.25, 0.5, 0.75, 1.0, 0.5)
    run = make_run(tmp_path / "run", outcome(RED, scores), outcome(GREEN, scores))
    other = make_run(tmp_path / "other", outcome(RED), outcome(GREEN), method="best_of_n")
    write_bundle([run, other], out := tmp_path / "site")
    pictures = out / "runs/run/images"
    assert sorted(path.name for path in pictures.rglob("*.png")) == ["000.png", "000.png", "003.png", "003.png"]
    assert (out / "runs/run/report.html").read_text().count('class="step') >= 5, "the steps are in the page"
    check_links(out)
    write_bundle([run, other], out, all_steps=True)
    assert len(list(pictures.rglob("*.png"))) == 10
    assert sum(address.endswith(".png") for address in Page(out / "runs/run/report.html").addresses) == 5
    check_links(out)


def test_names_are_safe_and_unique(tmp_path):
    runs = [tmp_path / name for name in ("A b", "x/a-b", "..", "ü")]
    assert folder_names(runs)[:2] == ["a-b", "a-b-2"]
    assert all(re.fullmatch("[a-z0-9_-]+", name) for name in folder_names(runs))


# --- what is compared


def test_what_is_not_comparable_stands_alone_with_the_reason(tmp_path):
    alike = [make_run(tmp_path / name, method=name) for name in ("best_of_n", "frozen")]
    prompts = make_run(tmp_path / "prompts", prompts_digest="d2")
    benchmark = make_run(tmp_path / "benchmark", benchmark="shapes", prompts_digest="d3")
    unfinished = make_run(tmp_path / "unfinished", samples=3)
    written = write_bundle([*alike, prompts, benchmark, unfinished], tmp_path / "site")
    assert written.comparisons == 1 and set(written.alone) == {prompts, benchmark, unfinished}
    assert "other prompts" in written.alone[prompts]
    assert written.alone[benchmark] == "No other run here has the same benchmark and prompts."
    assert written.alone[unfinished] == "Not compared: 4 samples of 6 are not finished."
    index = (tmp_path / "site/index.html").read_text()
    assert index.count("Not compared") == 2 and "No other run here" in index
    check_links(tmp_path / "site")


def test_a_single_run_needs_no_reason(tmp_path):
    assert write_bundle([make_run(tmp_path / "run")], tmp_path / "site").alone == {}


def test_seeds_are_a_row(tmp_path):
    runs = [make_run(tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    assert write_bundle(runs, tmp_path / "site").comparisons == 1


# --- the folder


def test_a_second_call_replaces_the_first(tmp_path):
    out = tmp_path / "site"
    write_bundle([make_run(tmp_path / "a"), make_run(tmp_path / "b", method="best_of_n")], out)
    write_bundle([tmp_path / "b"], out)
    assert [path.name for path in (out / "runs").iterdir()] == ["b"]
    assert not (out / "comparisons").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "site"}


@pytest.mark.parametrize("marker", [None, "{}", '{"milr bundle": 1, "files": "mine.txt"}', "["])
def test_a_foreign_folder_is_refused(tmp_path, marker):
    run, out = make_run(tmp_path / "run"), tmp_path / "site"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    if marker:
        (out / "bundle.json").write_text(marker)
    before = files(out)
    with pytest.raises(UsageError, match="which milr bundle has not written"):
        write_bundle([run], out)
    assert files(out) == before


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_bundle_with_a_file_of_the_user_is_refused(tmp_path, kind):
    run, out = make_run(tmp_path / "run"), tmp_path / "site"
    write_bundle([run], out)
    (out / "mine").symlink_to(run) if kind == "link" else (out / "mine").write_text("mine")
    with pytest.raises(UsageError, match="holds mine"):
        write_bundle([run], out)
    assert (out / "mine").exists() and (run / "run.json").exists()


def test_an_empty_folder_is_taken_and_a_file_is_not(tmp_path):
    run = make_run(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    write_bundle([run], tmp_path / "empty")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        write_bundle([run], tmp_path / "file")


def test_a_call_that_fails_leaves_the_earlier_bundle(tmp_path, monkeypatch):
    run, out = make_run(tmp_path / "run"), tmp_path / "site"
    write_bundle([run], out)
    before = files(out)

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(site, "render_index", fail)
    with pytest.raises(UsageError, match="No space left on device"):
        write_bundle([run], out)
    assert files(out) == before
    assert {path.name for path in tmp_path.iterdir()} == {"run", "site"}


def test_what_a_killed_process_left_does_not_matter(tmp_path):
    run, out = make_run(tmp_path / "run"), tmp_path / "site"
    for name in (".site.milr-bundle", ".site.milr-bundle-before"):
        (tmp_path / name / "runs").mkdir(parents=True)
        (tmp_path / name / "runs" / "old.html").write_text("old")
    write_bundle([run], out)
    assert not list(out.rglob("old.html"))
    assert {path.name for path in tmp_path.iterdir()} == {"run", "site"}


def test_no_run_no_sample_and_one_run_twice_are_refused(tmp_path):
    run, empty = make_run(tmp_path / "run"), tmp_path / "empty"
    RunStore(empty).open(config()).close()
    for runs, why in [([], "nothing to bundle"), ([tmp_path / "none"], "holds no run"),
                      ([empty], "no finished sample"), ([run, run], "name it once")]:  # fmt: skip
        with pytest.raises(UsageError, match=why):
            write_bundle(runs, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_the_command(tmp_path):
    runs = [str(make_run(tmp_path / "a")), str(make_run(tmp_path / "b", prompts_digest="d2"))]
    result = CliRunner().invoke(app, ["bundle", *runs, "--out", str(tmp_path / "site"), "--title", "Mine"])
    assert result.exit_code == 0, result.output
    assert f"page     {tmp_path / 'site' / 'index.html'}" in result.output
    assert "other prompts" in result.output and "compared 0 groups" in result.output
