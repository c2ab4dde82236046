"""No command reads or writes outside a run's folder, whatever its records and links say; long names are a sentence."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from milr.runs.config import prompts_digest
from milr.runs.store import RunStore, name_of
from milr.runs.unfinished import FOLDER, AnsweredRequest, UnfinishedSearch, remove_search
from milr.types import Score, UsageError
from outcomes import GREEN, RED, config, outcome
from test_damage import CONFIG, PROMPTS, flip, picture_path, record_path, sign
from test_repair_run import contents


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A run, and a folder beside it with a picture of the same size as the run's."""
    with RunStore(tmp_path / "run").open(CONFIG, PROMPTS) as store:
        for prompt in PROMPTS:
            store.write(outcome(prompt))
    (tmp_path / "outside").mkdir()
    Image.effect_noise((8, 8), 90).convert("RGB").save(tmp_path / "outside" / "001.png")
    return tmp_path / "run", tmp_path / "outside"


def names(run: Path, path: str, outside: Path) -> None:
    """A record with a fitting checksum that names the picture outside, and says that it is the right one."""
    content = (outside / "001.png").read_bytes()
    step = {"picture": path, "picture_sha256": hashlib.sha256(content).hexdigest(), "picture_bytes": len(content)}
    for prompt in PROMPTS:
        sign(record_path(run, prompt), lambda record: [each.update(step) for each in record["steps"]])


def links_to_the_folder(run: Path, outside: Path) -> None:
    content = (outside / "001.png").read_bytes()
    signed = {"picture_sha256": hashlib.sha256(content).hexdigest(), "picture_bytes": len(content)}
    for prompt in PROMPTS:
        sign(record_path(run, prompt), lambda record: [step.update(signed) for step in record["steps"]])
    for prompt in PROMPTS:
        folder = picture_path(run, prompt).parent
        folder.rename(run.parent / f"old-{folder.name}")
        folder.symlink_to(outside)


def links_to_the_picture(run: Path, outside: Path) -> None:
    names(run, "images/x/001.png", outside)
    for prompt in PROMPTS:
        for index in range(2):
            path = picture_path(run, prompt).with_name(f"{index:03d}.png")
            sign(record_path(run, prompt),
                 lambda record, path=path, index=index: record["steps"][index].update(
                     picture=path.relative_to(run).as_posix()))  # fmt: skip
            path.unlink()
            path.symlink_to(outside / "001.png")


def links_to_records(run: Path, outside: Path) -> None:
    for prompt in PROMPTS:
        path = record_path(run, prompt)
        path.rename(outside / path.name)
        path.symlink_to(outside / path.name)


HARMS: dict[str, Callable[[Path, Path], None]] = {
    "a relative path": lambda run, outside: names(run, "../outside/001.png", outside),
    "a path through the folder": lambda run, outside: names(run, "images/../../outside/001.png", outside),
    "an absolute path": lambda run, outside: names(run, str(outside / "001.png"), outside),
    "a link for a picture": links_to_the_picture,
    "a link for a folder": links_to_the_folder,
    "a link for a record": links_to_records,
}
COMMANDS = (
    ("report", "run"),
    ("compare", "run", "--partial"),
    ("compare", "run"),
    ("export", "run", "--layout", "t2i-compbench", "--to", "pictures"),
    ("doctor", "run"),
    ("doctor", "run", "--repair"),
)


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_nothing_outside_the_folder_is_read_or_written(folders, harm, milr) -> None:
    run, outside = folders
    harm(run, outside)
    secret, before = (outside / "001.png").read_bytes(), contents(outside)
    forms = (secret, base64.b64encode(secret)[:-8])
    for command in COMMANDS:
        code, printed, errors = milr(*command)
        assert code in (0, 2, 3) and "Traceback" not in errors
    with RunStore(run).open(CONFIG, PROMPTS) as store:
        for prompt in PROMPTS:
            assert not store.finished(prompt, 0)
            store.write(outcome(prompt))
    assert milr("report", "run")[0] == 0 and contents(outside) == before
    for place in ("run", "comparison", "pictures"):
        written = [path for path in (run.parent / place).rglob("*") if path.is_file() and not path.is_symlink()]
        assert not [path for path in written if any(form in path.read_bytes() for form in forms)]


def test_the_secret_would_be_found(folders, milr) -> None:
    run, outside = folders
    content = (outside / "001.png").read_bytes()
    picture_path(run).write_bytes(content)
    sign(record_path(run), lambda record: record["steps"][1].update(
        picture_sha256=hashlib.sha256(content).hexdigest(), picture_bytes=len(content)))  # fmt: skip
    assert milr("report", "run")[0] == 0
    assert base64.b64encode(content)[:-8] in (run / "report.html").read_bytes()


def test_a_comparison_embeds_no_picture_behind_a_link(folders, milr) -> None:
    run, outside = folders
    for folder, method, value in ((run, "latent_reasoning", 0.0), (run.with_name("other"), "frozen", 1.0)):
        chosen = config(prompts_digest=prompts_digest(PROMPTS), method=method)
        with RunStore(folder).open(chosen, PROMPTS) as store:
            for prompt in PROMPTS:
                store.write(outcome(prompt, judged={1: Score(value)}))
    links_to_the_folder(run, outside)
    assert milr("compare", "run", "other", "--partial")[0] == 0
    page = (run.parent / "comparison" / "compare.html").read_text(encoding="utf-8")
    assert base64.b64encode((outside / "001.png").read_bytes()).decode()[:-8] not in page
    assert page.count("picture missing") == 2 and page.count("<img") == 2, "one of the two rows has pictures"


def test_unfinished_searches_are_inside_the_folder(folders) -> None:
    run, outside = folders
    (run / FOLDER).mkdir()
    name = name_of(GREEN, 0)
    before = contents(outside)
    for use in (lambda: UnfinishedSearch(run / FOLDER / name), lambda: remove_search(run, name)):
        (run / FOLDER / name).symlink_to(outside)
        search = use()
        if isinstance(search, UnfinishedSearch):
            search.add(AnsweredRequest("score", "x", Score(0.5)))
            search.save()
            remove_search(run, name)
            (run / FOLDER).mkdir(exist_ok=True)
    (run / FOLDER).rmdir() if (run / FOLDER).exists() else None
    assert contents(outside) == before
    (run / FOLDER).symlink_to(outside)
    with pytest.raises(UsageError, match="unfinished is a link"):
        RunStore(run).open(CONFIG, PROMPTS)
    assert contents(outside) == before


LONG = {"a long name": "x" * 300, "a long path": "x/" * 2500}


@pytest.mark.parametrize("out", LONG.values(), ids=LONG)
def test_a_name_that_the_system_does_not_allow_is_a_sentence(folders, out: str, milr) -> None:
    run, outside = folders
    (outside.parent / "list.csv").write_text("path,prompt\noutside/001.png,a green square\n")
    before = contents(run)
    for command in (("report", out), ("compare", out), ("compare", "run", "--out", out), ("doctor", out),
                    ("doctor", out, "--repair"), ("export", "run", "--layout", "t2i-compbench", "--to", out),
                    ("score", "list", "list.csv", "--reward", "detector", "--out", out),
                    ("score", "list", out, "--reward", "detector"), ("generate", "--prompts", out),
                    ("experiment", out),
                    ("generate", "a red star", "--out", out, "--pictures", "1")):  # fmt: skip
        code, _, errors = milr(*command)
        last = errors.splitlines()[-1]
        assert code == 2 and last.startswith("milr: ") and "Traceback" not in errors, command
    assert contents(run) == before


def test_a_long_name_is_refused_by_python_too(folders) -> None:
    run, _ = folders
    flip(record_path(run, RED))
    for out in LONG.values():
        with pytest.raises(UsageError, match="cannot be written .File name too long.: mend that, or choose another"):
            RunStore(run / out).open(CONFIG, PROMPTS)
