"""The documentation's pictures of the pages: `python docs/screenshots.py` runs nano, opens every view, and writes them.

It needs the extras `web` and `dev` (playwright) and a Chromium; the runs stay in `--runs`, so that a second call only
takes the pictures. What it writes is committed: docs/pictures/*.png, each below LARGEST bytes.
"""

from __future__ import annotations

import io
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from PIL import Image
from playwright.sync_api import sync_playwright

PICTURES = Path(__file__).with_name("pictures")
LARGEST = 60_000
COLOURS = 128  # of a picture's palette
METHODS = ("latent_reasoning", "plain", "redraw_sampled", "repair")
PROMPT = "a photo of four small outlined blue circles"  # wrong at first, right after one update
WAIT = 120_000  # milliseconds
DRAWING = ".badge:not([hidden])"
FINISHED = ".lane:not(:has(.returned))"


def milr(*words: str | Path) -> None:
    """Run the command line, in a process of its own."""
    subprocess.run([sys.executable, "-m", "milr.cli", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def make_runs(folder: Path) -> None:
    """One search, a benchmark by four methods, their comparison and their site; what is finished is not made again."""
    milr("generate", PROMPT, "--method", "latent_reasoning", "--out", folder / "one")
    rows = [folder / method for method in METHODS]
    for row in rows:
        milr(
            "bench", "shapes", "--split", "hard", "--limit", "60", "--pictures", "8", "--method", row.name, "--out", row
        )
        milr("report", row)
    milr("compare", *rows, "--out", folder / "comparison")
    milr("bundle", folder / "one", *rows, "--out", folder / "site", "--title", "Four methods on hard prompts")


@contextmanager
def serving(out: Path) -> Iterator[str]:
    """The address of a server on a free port."""
    command = [sys.executable, "-m", "milr.cli", "serve", "--port", "0", "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[2]
        finally:
            process.send_signal(signal.SIGTERM)


def save(page: Any, name: str) -> None:
    """What is seen of the page now, as a small picture."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    path = PICTURES / f"{name}.png"
    picture.save(path, optimize=True)
    if (size := path.stat().st_size) > LARGEST:
        raise SystemExit(f"{path} has {size} bytes: show less of the page, or take fewer COLOURS.")
    typer.echo(f"{path} {size}")


@contextmanager
def opened(browser: Any, address: str, size: tuple[int, int] = (1000, 640), scheme: str = "light") -> Iterator[Any]:
    """A page at an address, in a window of that size."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    context.set_default_timeout(WAIT)
    page = context.new_page()
    page.goto(address)
    yield page
    context.close()


def at(page: Any, selector: str) -> None:
    """Bring a part of the page to the top of the window, and let its pictures load."""
    page.locator(selector).first.evaluate("element => element.scrollIntoView({behavior: 'instant'})")
    page.wait_for_timeout(500)


def ask(page: Any, other: str = "") -> None:
    """Search for the prompt, by one method or by two."""
    page.locator("#method option").first.wait_for(state="attached")
    page.fill("#prompt", PROMPT)
    page.select_option("#method", "latent_reasoning")
    page.select_option("#other", other)
    page.get_by_role("button", name="Draw").click()


def show_server(browser: Any, address: str) -> None:
    """A picture that is being drawn, two methods beside each other with the slider, and a phone."""
    with opened(browser, address, (1000, 780)) as page:
        ask(page)
        page.locator(DRAWING).wait_for()
        at(page, "main")
        save(page, "serve-drawing")
    with opened(browser, address, (1000, 900)) as page:
        ask(page, "redraw_sampled")
        page.locator("#compare").wait_for()
        page.locator(FINISHED).wait_for(state="detached")
        at(page, "#results")
        save(page, "serve-methods")
    with opened(browser, address, (390, 780), "dark") as page:
        page.locator("#runs button", has_text="1.00latent_reasoning").first.click()
        page.locator("#compare").wait_for()
        at(page, "#results")
        save(page, "serve-phone")


def show_files(browser: Any, folder: Path) -> None:
    """The pages that open from disk."""
    with opened(browser, (folder / "latent_reasoning" / "report.html").resolve().as_uri(), (1000, 780)) as page:
        page.wait_for_timeout(500)
        save(page, "report")
    with opened(browser, (folder / "one" / "report.html").resolve().as_uri(), (1000, 960), "dark") as page:
        page.wait_for_timeout(500)
        save(page, "report-search")
    with opened(browser, (folder / "comparison" / "compare.html").resolve().as_uri(), (1000, 720)) as page:
        page.wait_for_timeout(500)
        save(page, "compare")
        page.get_by_role("button", name="≠ rows differ").click()
        at(page, "#examples")
        save(page, "compare-pictures")
    with opened(browser, (folder / "site" / "index.html").resolve().as_uri(), (1000, 640)) as page:
        page.wait_for_timeout(500)
        save(page, "bundle")


def main(runs: Path = Path("runs/screenshots")) -> None:
    """Write docs/pictures/*.png again."""
    make_runs(runs)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as driver, serving(runs / "served") as address:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        show_server(browser, address)
        show_files(browser, runs)
        browser.close()


if __name__ == "__main__":
    typer.run(main)
