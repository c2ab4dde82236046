"""Files that a user writes: prompts, lists of pictures, experiments, templates, pictures, names of parts."""

from __future__ import annotations

import io
import json
from pathlib import Path

from PIL import Image

from milr import catalog
from milr.inputs.text import shows_something
from milr.report.pictures import embed
from milr.rewards.endpoint.wording import PLACEHOLDERS, Wording
from milr.runs.official_pictures import OfficialPicture
from milr.templates import JANUS
from milr.types import Prompt
from milr.workflows.experiments import experiment_runs, read_experiment
from milr.workflows.picture_list import read_picture_list
from milr.workflows.prompts import MAX_LETTERS, read_prompts
from milr.workflows.scoring import _reopen

SUFFIXES = (".txt", ".json", ".jsonl", ".csv", ".tsv", ".yaml", ".xlsx", "")  # by the content's first byte
EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def _file(content: bytes, folder: Path) -> Path:
    path = folder / f"x{SUFFIXES[content[0] % len(SUFFIXES)] if content else ''}"
    path.write_bytes(content[1:])
    return path


def prompt_file(content: bytes, folder: Path) -> None:
    """`--prompts FILE`."""
    for prompt in read_prompts(_file(content, folder)):
        assert shows_something(prompt.text) and len(prompt.text) <= MAX_LETTERS
        json.dumps([prompt.metadata, prompt.source, prompt.category]).encode()
        prompt.text.encode()


def picture_list(content: bytes, folder: Path) -> None:
    """`milr score --list FILE`."""
    for picture in read_picture_list(_file(content, folder)):
        assert picture.sample >= 0 and shows_something(picture.prompt.text)


def experiment(content: bytes, folder: Path) -> None:
    """`milr experiment FILE`."""
    path = folder / "x.toml"
    path.write_bytes(content)
    assert experiment_runs(read_experiment(path), folder)


def template(content: bytes, folder: Path) -> None:
    """`--reasoning-prompt` and `--judge-template`."""
    path = folder / "x.txt"
    path.write_bytes(content)
    for name, fields in PLACEHOLDERS.items():
        Wording.load(name, path).fill(**dict.fromkeys(fields, "{prompt} \\1"))
    text = content.decode(errors="replace")
    templates = JANUS.override(reasoning=text, question=text)
    assert "a star" in templates.reason("a star") and "a star" in templates.judge("a star")


def picture(content: bytes, folder: Path) -> None:
    """A picture of a folder that is scored, or of a run that is reported."""
    path = folder / "x.png"
    path.write_bytes(content)
    embed(path, 176)
    assert _reopen(OfficialPicture(Prompt("a star"), 0, path)).mode == "RGB"


def part_name(content: bytes, folder: Path) -> None:
    """`--reward`, `--model`, `--method` and the name of a benchmark."""
    kind, _, name = content.decode(errors="replace").partition(" ")
    kind = kind if kind in ("rewards", "models", "methods", "benchmarks") else "rewards"
    catalog.check_part(kind, name)


def _pictures() -> tuple[bytes, ...]:
    contents = []
    for form in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"):
        buffer = io.BytesIO()
        Image.new("RGB", (3, 2), "red").save(buffer, format=form)
        contents.append(buffer.getvalue())
    return tuple(content for content in contents if len(content) < 2000)


_LINES = (b'{"prompt": "a red star", "include": [{"class": "star", "count": 1}], "tag": "colors"}\n"two"\n',
          b'[{"prompt": "a", "id": 1}, "b"]', b"id,prompt\n1,a red star\n2,\"two, hearts\"\n",
          b"caption\tn\na red star\t1\n", b"a red star\ntwo hearts\n", "\ufeffprompt\na\n".encode("utf-16"),
          b"text;x\na;b\n")  # fmt: skip
_LISTS = (b'{"path": "a.png", "prompt": "a star"}\n', b"image,caption\na.png,a star\nb.png,a star\n",
          b'[{"file": "a.png", "text": "b"}]')  # fmt: skip
_EXPERIMENT = b'title = "a"\nbenchmark = "shapes"\nseeds = [0, 1]\n[base]\nsteps = 2\n[rows.a]\nmethod = "redraw"\n'
_NAMES = (b"rewards detector", b"rewards weighted:detector=0.5,held-out=0.5", b"rewards geneval|self",
          b"models nano", b"methods redraw", b"benchmarks shapes", b"rewards my.py:score",
          b"rewards noisy:0.1")  # fmt: skip
TARGETS = (
    (prompt_file, tuple(bytes([suffix]) + line for suffix, line in zip((2, 1, 3, 4, 0, 7, 3), _LINES, strict=True)),
     False),
    (picture_list, tuple(bytes([suffix]) + line for suffix, line in zip((2, 3, 1), _LISTS, strict=True)), False),
    (experiment, ((EXPERIMENTS / "agreement.toml").read_bytes(), _EXPERIMENT), False),
    (template, (b"Is {prompt} shown? {explanation}", b"You plan.\n---\nPlan {prompt} {explanation}"), False),
    (picture, _pictures(), False),
    (part_name, _NAMES, False),
)  # fmt: skip
