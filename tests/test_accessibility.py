"""Every page in Chromium under axe has no finding: in light and dark, wide and on a phone, opened and closed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from milr.report.bundle.site import write_bundle
from milr.runs.store import RunStore
from outcomes import GREEN, RED, config, outcome, step

pytestmark = pytest.mark.long

SEARCHED = (step(0, 0.2, "a red star"), step(1, 0.5, "a blue star"), step(2, 0.95, "a blue star"))
SCREENS = [(390, "light"), (390, "dark"), (1200, "light"), (1200, "dark")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle has every page that is written: its index, runs, a comparison."""
    folder = tmp_path_factory.mktemp("pages")
    for method in ("best_of_n", "frozen"):
        with RunStore(folder / method).open(config(prompt_count=2, report_metric="", method=method)) as store:
            store.write(outcome(RED, steps=SEARCHED))
            store.write(outcome(GREEN, (0.99,)))
    return write_bundle([folder / "best_of_n", folder / "frozen"], folder / "site").page.parent


def findings(page: Any) -> list[str]:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pages are checked with axe")
    violations = axe.Axe().run(page).response["violations"]
    return [f"{each['id']} ({each['impact']}): {each['nodes'][0]['html'][:120]}" for each in violations]


@pytest.fixture(params=SCREENS, ids=lambda screen: f"{screen[0]}-{screen[1]}")
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("name", ["index.html", "runs/frozen/report.html", "comparisons/1-prompts/compare.html"])
def test_written_pages(page: Any, site: Path, name: str) -> None:
    page.goto((site / name).as_uri())
    assert findings(page) == []
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.wait_for_timeout(100)
    assert findings(page) == []


def test_a_comparison_turned_and_enlarged(page: Any, site: Path) -> None:
    page.goto((site / "comparisons/1-prompts/compare.html").as_uri())
    page.get_by_label("Exchange the axes").check()
    page.locator(".card summary").first.press("Enter")
    page.get_by_label("Zoom").first.fill("4")
    assert findings(page) == []


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("starlette", reason="milr serve needs the extra: pip install 'milr[web]'")
    from served import serving

    with serving(tmp_path_factory.mktemp("served") / "runs") as (_, address):
        yield address


def test_the_served_page(page: Any, served: str) -> None:
    page.goto(served)
    page.locator("#method option").first.wait_for(state="attached")
    assert findings(page) == []
    page.fill("#prompt", "two red stars")
    page.select_option("#method", "redraw_sampled")
    page.fill("#pictures", "2")
    page.set_checked("#stop", False)
    page.press("#prompt", "Control+Enter")
    page.locator(".strip .returned").wait_for(timeout=60_000)
    assert findings(page) == []


def test_the_served_page_on_paper(browser: Any, served: str, tmp_path: Path) -> None:
    context = browser.new_context(color_scheme="dark", viewport={"width": 794, "height": 1123})
    page = context.new_page()
    page.goto(served)
    page.locator("#method option").first.wait_for(state="attached")
    page.fill("#prompt", "a blue circle")
    page.select_option("#method", "redraw_sampled")
    page.fill("#pictures", "3")
    page.set_checked("#stop", False)
    page.press("#prompt", "Control+Enter")
    page.locator(".strip .returned").wait_for(timeout=60_000)
    page.emulate_media(media="print")
    assert page.locator("input:visible, select:visible, textarea:visible, nav:visible, .actions:visible").count() == 0
    assert page.locator("body").evaluate("one => getComputedStyle(one).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator(".lane h3").is_visible() and page.locator(".strip img:visible").count() == 3
    (paper := tmp_path / "served.pdf").write_bytes(page.pdf(format="A4"))
    assert paper.stat().st_size > 1000
    context.close()
