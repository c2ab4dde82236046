"""Shared by all tests: one torch thread, and one small random Janus made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import tiny_janus
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
