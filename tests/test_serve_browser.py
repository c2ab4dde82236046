"""The page of `milr serve` in Chromium: draw, watch, stop, compare, flip, reload, open an old run, download."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="milr serve needs the extra: pip install 'milr[web]'")
from served import serving  # noqa: E402

pytestmark = pytest.mark.long

SCRIPT = "<script>document.title = 'broken'</script> a red star <b>"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    out = tmp_path_factory.mktemp("page") / "runs"
    with serving(out) as (_, address):
        yield out, address


@pytest.fixture
def page(browser: Any, served: tuple[Path, str]) -> Iterator[Any]:
    """A page whose script must not complain, and that asks nobody but the server."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    one = context.new_page()
    problems: list[str] = []
    one.on("console", lambda message: problems.append(message.text)
           if message.type in ("error", "warning") and "status of 400" not in message.text else None)  # fmt: skip
    one.on("pageerror", lambda error: problems.append(str(error)))
    one.on("request", lambda request: None if request.url.startswith((served[1], "data:", "blob:"))
           else problems.append(request.url))  # fmt: skip
    one.goto(served[1])
    one.locator("#method option").first.wait_for(state="attached")
    yield one
    context.close()
    assert problems == []


def draw(page: Any, prompt: str, *, method: str = "redraw_sampled", other: str = "", pictures: int = 3,
         stop: bool = False) -> None:  # fmt: skip
    page.fill("#prompt", prompt)
    page.select_option("#method", method)
    page.select_option("#other", other)
    page.fill("#pictures", str(pictures))
    page.set_checked("#stop", stop)
    page.press("#prompt", "Control+Enter")


def test_pictures_arrive_and_a_reload_shows_them_again(page: Any, served: tuple[Path, str]) -> None:
    draw(page, "two red stars")
    page.locator(".badge", has_text="drawing").wait_for()  # a picture that is being drawn
    assert page.locator(".big img").get_attribute("src").startswith("data:image/png")
    page.locator(".strip .returned").wait_for(timeout=60_000)
    assert page.locator(".strip button").count() == 3 and page.locator(".curve circle").count() == 3
    assert page.locator(".parts li").count() >= 2
    page.locator(".say", has_text="of 1, says held-out").wait_for()
    assert "detector, which did not guide the search, says" in page.locator(".lane").inner_text()
    score = page.locator(".score").inner_text()
    page.reload()
    page.locator(".strip .returned").wait_for()
    assert page.locator(".score").inner_text() == score and page.locator(".strip button").count() == 3
    page.locator(".strip button").first.focus()
    page.keyboard.press("End")
    assert page.locator(".strip button").last.get_attribute("aria-pressed") == "true"
    page.keyboard.press("ArrowLeft")
    assert page.locator(".strip button").nth(1).get_attribute("aria-pressed") == "true"
    with page.expect_download() as picture:
        page.get_by_role("button", name="Save picture").click()
    assert Path(picture.value.path()).read_bytes().startswith(b"\x89PNG")
    with page.expect_download() as archive:
        page.get_by_role("button", name="Save run (zip)").click()
    assert Path(archive.value.path()).read_bytes().startswith(b"PK")
    page.locator("#runs button").first.click()
    page.locator(".strip .returned").wait_for()


def test_a_stop_keeps_the_best(page: Any) -> None:
    draw(page, "two red stars", pictures=64)
    page.locator(".strip button").nth(1).wait_for(timeout=60_000)
    page.get_by_role("button", name="Stop and keep the best").click()
    page.get_by_text("somebody stopped it").wait_for(timeout=60_000)
    assert page.locator(".strip button").count() < 20 and page.locator(".strip .returned").count() == 1


def test_the_threshold_is_drawn_where_the_judge_ends_the_search(page: Any) -> None:
    draw(page, "a photo of four small outlined blue circles", method="latent_reasoning", pictures=4, stop=True)
    page.locator(".curve .limit").wait_for(state="attached", timeout=60_000)
    assert page.locator(".strip button").count() == 2 and "The model's plan:" in page.locator(".lane").inner_text()


def test_two_methods_beside_each_other_and_a_slider(page: Any) -> None:
    draw(page, "a red star", method="plain", other="redraw_sampled", pictures=2)
    page.locator(".strip .returned").nth(1).wait_for(timeout=60_000)
    assert page.locator(".lane").count() == 2
    slider = page.locator("#slide")
    slider.focus()
    before = page.locator(".pair img").nth(1).evaluate("image => image.style.clipPath")
    page.keyboard.press("ArrowRight")
    assert page.locator(".pair img").nth(1).evaluate("image => image.style.clipPath") != before
    page.keyboard.press("f")
    assert slider.input_value() == "0"
    page.locator(".pair").scroll_into_view_if_needed()
    box = page.locator(".pair").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 20)
    page.mouse.down()
    assert slider.input_value() == "25"
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.up()
    page.mouse.move(box["x"] + 5, box["y"] + 20)
    assert slider.input_value() == "50", "the line follows the pointer while it is pressed"
    options = page.locator("#left option").all_inner_texts()
    assert len(options) == 3 and options[0].startswith("plain, step 0")


def test_a_prompt_with_markup_is_text(page: Any, served: tuple[Path, str]) -> None:
    draw(page, SCRIPT)
    page.locator("#message").wait_for()
    assert page.title() == "milr" and SCRIPT in page.locator(".lane h3").inner_text()
    assert page.locator(".lane script, .lane b").count() == 0


def test_a_refused_prompt_has_one_reason_and_no_empty_box(page: Any) -> None:
    draw(page, "a dragon", method="plain", other="redraw_sampled")
    page.get_by_text("Nothing was drawn").nth(1).wait_for()
    assert page.locator("#results").inner_text().count("does not know 'dragon'") == 1
    assert page.locator(".big:visible, .curve:visible, #compare:visible").count() == 0


def test_it_fits_a_phone_and_every_field_has_a_name(browser: Any, served: tuple[Path, str]) -> None:
    for width, scheme in ((390, "light"), (390, "dark"), (1200, "dark")):
        context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
        page = context.new_page()
        page.goto(served[1])
        page.locator("#runs button").first.click()
        page.locator(".strip button").first.wait_for()
        assert page.locator("html").evaluate("element => element.scrollWidth") <= width
        unnamed = page.locator("input, select, textarea, button, img").evaluate_all(
            "all => all.filter(one => !(one.labels?.length || one.textContent.trim() || one.getAttribute('aria-label')"
            " || one.alt !== undefined)).map(one => one.outerHTML)"
        )
        assert unnamed == []
        context.close()


def test_a_server_with_a_key_asks_for_it(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a-key-for-the-browser-test\n")
    with serving(tmp_path / "runs", "--api-key-file", str(tmp_path / "key")) as (_, address):
        context = browser.new_context()
        page = context.new_page()
        page.goto(address)
        page.fill("#key", "a-key-for-the-browser-test")
        page.get_by_role("button", name="Use it").click()
        page.locator("#method option").first.wait_for(state="attached")
        assert re.search("pixels", page.locator("#model").inner_text())
        context.close()
