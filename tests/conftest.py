"""Shared by all tests: one torch thread, one small random Janus and one hub's cache of small judges, made once."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_janus
from milr.cli import app
from milr.models.janus import JanusModel


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Two threads that wait for each other are slower than one at these sizes, and sums are ordered alike."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder of a small random Janus, of a seed that writes short texts and draws varied pictures."""
    return tiny_janus.save(tmp_path_factory.mktemp("tiny_janus"), seed=3)


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> JanusModel:
    """The small random Janus, spoken to with nano's short templates."""
    return JanusModel.load(tiny_folder, device="cpu", templates=tiny_janus.TEMPLATES, name="tiny")


@pytest.fixture(scope="session")
def tiny_judges_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small random judges: `hub` is laid out as the hub's cache, `site` holds spaCy's model as a package."""
    import tiny_hub  # loads spaCy, which few tests need

    folder = tmp_path_factory.mktemp("tiny_hub")
    tiny_hub.save(folder / "hub")
    tiny_hub.install_spacy_model(folder / "site")
    return folder


@pytest.fixture
def hub(tiny_judges_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The catalogue finds the small judges by their real names; there is no network. The cache's folder."""
    import tiny_hub

    tiny_hub.offline(monkeypatch, tiny_judges_folder / "hub")
    monkeypatch.delenv("MILR_CHECKPOINTS", raising=False)
    monkeypatch.syspath_prepend(tiny_judges_folder / "site")
    yield tiny_judges_folder / "hub"
    sys.modules.pop(tiny_hub.SPACY_MODEL, None)


@pytest.fixture
def milr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in a temporary folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["milr", *map(str, arguments)])
        code = 0
        try:
            app.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, driven by playwright; skipped where either is absent."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pages are tested with playwright")
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    chromium = next(filter(None, found), None)
    if chromium is None:
        pytest.skip("there is no Chromium here")
    with playwright.sync_playwright() as driver:
        one = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield one
        one.close()
