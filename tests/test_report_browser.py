"""The page of a run in Chromium, from disk: filters, search, order, the slider over the steps, keys, phone, print."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from milr.report.html import write_report
from milr.runs.store import RunStore
from milr.types import Prompt
from offline_page import offline_page
from outcomes import GREEN, RED, config, outcome, step

pytestmark = pytest.mark.long

SCRIPT = "<script>document.title = 'broken'</script> a blue star <b>"
SEARCHED = (step(0, 0.2, "a red star"), step(1, 0.5, "a blue star"), step(2, 0.95, "a blue star"), step(3, 0.4))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    with RunStore(folder).open(config(prompt_count=5)) as store:
        store.write(outcome(RED, steps=SEARCHED))
        store.write(outcome(GREEN, (0.99,)))
        store.write(outcome(Prompt(SCRIPT, "", SCRIPT), (0.3,)))
        store.write(outcome(Prompt("a moon"), (0.1, 0.6)))
        store.write(outcome(Prompt("two moons"), (None,), best=None))
    return write_report(folder)


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    with offline_page(browser, report.as_uri()) as opened:
        yield opened


def shown(page: Any) -> list[str]:
    """The prompts of the cards that are not hidden; their text is there before the browser has drawn it."""
    return page.locator(".card:visible .prompt").all_text_contents()


def test_buttons_and_search_choose_cards(page: Any) -> None:
    assert len(shown(page)) == 5
    page.get_by_role("button", name="✓ solved").click()
    assert sorted(shown(page)) == sorted([RED.text, GREEN.text])
    page.get_by_role("button", name="position").click()
    assert shown(page) == [RED.text] and page.locator(".shown").inner_text() == "1 of 5 shown"
    page.get_by_role("button", name="position").click()
    page.get_by_role("button", name="✓ solved").click()
    assert len(shown(page)) == 5, "a button that is pressed again is released"
    page.get_by_role("button", name="✗ failed").click()
    page.fill("[type=search]", "MOON a")
    assert shown(page) == ["a moon"]
    page.get_by_role("button", name="⚠ unscored").click()
    page.fill("[type=search]", "moons")
    assert shown(page) == ["two moons"]


def test_order_by_score_and_step(page: Any) -> None:
    before = shown(page)
    page.select_option("select", "score")
    assert shown(page) == [SCRIPT, "a moon", RED.text, GREEN.text, "two moons"]
    page.select_option("select", "-score")
    assert shown(page) == [GREEN.text, RED.text, "a moon", SCRIPT, "two moons"], "unscored last"
    page.select_option("select", "-step")
    assert shown(page)[:2] == [RED.text, GREEN.text]
    page.select_option("select", "")
    assert shown(page) == before


def test_the_keyboard_opens_a_card_and_goes_through_its_steps(page: Any) -> None:
    card = page.locator(".card", has_text=RED.text)
    card.locator("summary").focus()
    page.keyboard.press("Enter")
    card.locator(".stepper").wait_for()  # it is added when the browser has told that the card is open
    step_shown = card.locator(".step:visible h4")
    assert step_shown.inner_text() == "Step 2: 0.95 returned"
    assert "text unchanged: a blue star" in card.locator(".step:visible").inner_text()
    page.keyboard.press("ArrowLeft")
    assert step_shown.inner_text() == "Step 1: 0.50"
    assert card.locator(".step:visible del").inner_text().strip() == "red"
    page.keyboard.press("Home")
    page.keyboard.press("ArrowLeft")
    assert step_shown.inner_text() == "Step 0: 0.20"
    slider = card.get_by_role("slider")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert slider.input_value() == "1" and slider.get_attribute("aria-valuetext") == "Step 1: 0.50"
    slider.fill("3")
    assert step_shown.inner_text() == "Step 3: 0.40" and "Step 3" in card.locator("output").inner_text()
    card.get_by_role("button", name="Step before").click()
    assert step_shown.inner_text() == "Step 2: 0.95 returned"
    page.keyboard.press("Escape")
    assert not card.locator(".step").first.is_visible()
    assert page.evaluate("document.activeElement.localName") == "summary"


def test_a_click_anywhere_on_a_card_opens_it(page: Any) -> None:
    card = page.locator(".card", has_text="a moon")
    card.click(position={"x": 30, "y": 30})
    assert card.locator(".step:visible").count() == 1
    assert card.bounding_box()["width"] > 900, "it takes the whole width"


def test_the_page_of_one_search_begins_with_its_pictures_and_says_nothing_twice(browser: Any, tmp_path: Path) -> None:
    with RunStore(tmp_path).open(config(prompt_count=1)) as store:
        store.write(outcome(RED, steps=SEARCHED))
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(write_report(tmp_path).as_uri())
    pair = page.locator(".pair").bounding_box()
    assert page.locator(".pair img:visible").count() == 2 and pair["y"] + pair["height"] < 844, "on the first screen"
    assert page.locator(".step:visible").count() == 1 and page.locator("#settings + details[open]").count() == 0
    assert page.get_by_text(RED.text, exact=True).locator("visible=true").count() == 1
    page.close()


def test_an_address_names_a_card(browser: Any, report: Path) -> None:
    page = browser.new_page()
    page.goto(f"{report.as_uri()}#sample-1")
    assert page.locator("#sample-1 .step:visible").count() == 1
    page.close()


def test_a_prompt_with_markup_is_text(page: Any) -> None:
    assert SCRIPT in shown(page) and "broken" not in page.title()
    assert page.locator(".card script, .card b b, .tools b").count() == 0
    assert page.get_by_role("button", name=SCRIPT).count() == 1, "as a category, too"


def test_without_javascript_all_steps_are_there(browser: Any, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert not page.locator(".tools").is_visible()
    card = page.locator(".card", has_text=RED.text)
    card.locator("summary").click()
    assert card.locator(".step:visible").count() == 4 and card.locator(".pair img:visible").count() == 2
    context.close()


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (390, "dark"), (1200, "dark")])
def test_it_fits_a_phone_and_every_field_has_a_name(browser: Any, report: Path, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.goto(report.as_uri())
    page.locator(".card", has_text=RED.text).locator("summary").click()
    page.locator(".stepper").wait_for()
    assert page.locator("html").evaluate("element => element.scrollWidth") <= width
    unnamed = page.locator("input, select, button, img").evaluate_all(
        "all => all.filter(one => !(one.labels?.length || one.textContent.trim() || one.getAttribute('aria-label')"
        " || one.alt)).map(one => one.outerHTML)"
    )
    assert unnamed == []
    context.close()


def test_paper_has_every_shown_picture_and_no_controls(page: Any) -> None:
    page.get_by_role("button", name="✓ solved").click()
    page.locator(".card", has_text=RED.text).locator("summary").click()
    page.locator(".stepper").wait_for()
    page.emulate_media(media="print")
    assert len(shown(page)) == 2 and page.locator("button:visible, input:visible, select:visible").count() == 0
    assert page.locator(".card", has_text=RED.text).locator("img:visible").count() == 2 + 4
    assert page.locator(".card", has_text=GREEN.text).locator("img:visible").count() == 1
