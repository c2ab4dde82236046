"""The kept inputs of the fuzzer, and its seeds, through every target, without atheris."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.calling import problem_of
from fuzz.mutate import mutate_json
from fuzz.targets import CORPUS, TARGETS, Target, load
from milr.types import UsageError


@pytest.mark.parametrize("name", TARGETS)
def test_only_milr_s_own_errors_come_out_of_the_kept_inputs(tmp_path: Path, name: str) -> None:
    target = load(name)
    contents = {f"seed {index}": content for index, content in enumerate(target.seeds)}
    contents |= {path.name: path.read_bytes() for path in target.corpus()}
    for index, (label, content) in enumerate(contents.items()):
        folder = tmp_path / str(index)
        folder.mkdir()
        if problem := problem_of(target, content, folder):
            raise AssertionError(f"{name}, {label}: {content[:200]!r}") from problem


@pytest.mark.parametrize("name", TARGETS)
def test_only_milr_s_own_errors_come_out_of_changed_json(tmp_path: Path, name: str) -> None:
    target = load(name)
    for number, content in enumerate(target.seeds if target.is_json else ()):
        for seed in range(30):
            folder = tmp_path / f"{number}-{seed}"
            folder.mkdir()
            changed = mutate_json(content, 4096, seed)
            if changed is not None and (problem := problem_of(target, changed, folder)):
                raise AssertionError(f"{name}: {changed[:200]!r}") from problem


def test_the_corpus_is_small_and_every_folder_has_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} <= set(TARGETS)
    for target in map(load, TARGETS):
        assert len(target.corpus()) <= 20 and all(path.stat().st_size <= 4096 for path in target.corpus())


def test_another_error_would_be_seen(tmp_path: Path) -> None:
    def wrong(content: bytes, folder: Path) -> None:
        raise (KeyError if content else UsageError)("x")

    target = Target("wrong", wrong, ())
    assert isinstance(problem_of(target, b"a", tmp_path), KeyError) and problem_of(target, b"", tmp_path) is None


def test_json_stays_json_and_changes() -> None:
    seeds = range(50)
    changed = {mutate_json(b'{"a": [1, {"b": "c"}], "d": null}', 1000, seed) for seed in seeds}
    assert len(changed) > 30 and None not in changed
    assert mutate_json(b"{", 1000, 0) is None and mutate_json(b"[1]", 0, 0) is None
