"""The files of a run: records with their checksum, run.json, prompts.jsonl, answers of an unfinished search."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pydantic_core

import outcomes
from milr.report.compare.rows import to_sample
from milr.runs import prompts_file
from milr.runs.config import describe_differences
from milr.runs.record_files import PictureChecks, encode_record, name_of, picture_path, read_record
from milr.runs.records import PictureFile, to_record
from milr.runs.run_file import RunFile, read_run
from milr.runs.unfinished import UnfinishedSearch, _digest
from milr.types import Prompt
from milr.workflows.agreement import read_scores
from milr.workflows.stored import restore

CONFIG = outcomes.config()


def record(content: bytes, folder: Path) -> None:
    """A record, which whoever changed it gave a checksum that fits: it is refused, or the reports can show it."""
    path = folder / f"{_name(content)}.json"
    path.write_bytes(_signed(content))
    read = read_record(path)
    list(PictureChecks(folder).damage(read))
    restore(read, folder)
    to_sample(folder, CONFIG, read)
    to_sample(folder, CONFIG, read_record(path, tokens=False))
    encode_record(read)


def _signed(content: bytes) -> bytes:
    """A JSON object with the checksum of what follows it; anything else as it is."""
    if not content.lstrip().startswith(b"{"):
        return content
    rest = content.lstrip()[1:]
    return b'{\n "checksum": "%s",' % hashlib.sha256(rest).hexdigest().encode() + rest


def _name(content: bytes) -> str:
    """What the record would be called, where it can be read."""
    try:
        fields = json.loads(content)
        prompt = fields["prompt"]
        return name_of(Prompt(str(prompt["text"]), str(prompt.get("id", ""))), int(fields["sample"]))[:200]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return "x"


def run_json(content: bytes, folder: Path) -> None:
    """run.json."""
    (folder / "run.json").write_bytes(content)
    read = read_run(folder)
    read.config.threshold_of("colors")
    describe_differences(read.config, CONFIG)
    assert len(read.config.digest) == 64


def prompts_jsonl(content: bytes, folder: Path) -> None:
    """prompts.jsonl of a run whose digest is not known."""
    (folder / prompts_file.NAME).write_bytes(content)
    for prompt in prompts_file.read_prompts(folder, "") or []:
        assert name_of(prompt, 0)
        prompt.category.encode()


def unfinished(content: bytes, folder: Path) -> None:
    """A file of `unfinished/`, with the digest that fits: its answers are taken, or it is left out; nothing else."""
    file = _safetensors(content)
    (folder / f"000-{_digest(file)}.safetensors").write_bytes(file)
    search = UnfinishedSearch(folder)
    for kind in ("reason", "draw", "score", "answer", "render"):
        search.take(kind, "r")


def _safetensors(content: bytes) -> bytes:
    """A safetensors file whose header is the content's, and whose answers are those of the content."""
    try:
        fields = json.loads(content)
        header = {**fields["header"], "__metadata__": {"version": "1", "answers": json.dumps(fields["answers"])}}
        text = json.dumps(header).encode()
    except (ValueError, KeyError, TypeError, RecursionError):
        text = content
    return struct.pack("<Q", len(text)) + text + bytes(12)


def scores(content: bytes, folder: Path) -> None:
    """A file of a judge's scores that an agreement keeps."""
    path = folder / "x.json"
    path.write_bytes(content)
    for score in read_scores(path, 2) or []:
        assert score.value is None or 0 <= score.value <= 1


def _record() -> bytes:
    name = name_of(outcomes.RED, 0)
    made = to_record(outcomes.outcome(), [PictureFile(picture_path(name, index), "a" * 64, 9) for index in (0, 1)])
    return made.model_dump_json(exclude={"checksum"}).encode()


def _answers() -> tuple[bytes, ...]:
    header = {"0": {"dtype": "U8", "shape": [12], "data_offsets": [0, 12]}}
    results: list[tuple[str, dict[str, Any]]] = [
        ("render", {"mode": "RGB", "size": [2, 2]}),
        ("score", {"value": 0.5, "parts": {"a": 1.0}, "reason": "r", "calls": 1, "seconds": 0.1}),
        ("reason", {"text": "a star", "ids": [1, 2], "context": None, "near_ties": [0], "device": "cpu"}),
    ]
    answers = [{"kind": kind, "request": "r", "seconds": 0.1, "result": fields} for kind, fields in results]
    return tuple(json.dumps({"header": header, "answers": [answer]}).encode() for answer in answers)


_RUN = RunFile(digest=CONFIG.digest, config=CONFIG).model_dump_json().encode()
_PROMPT = pydantic_core.to_json({"text": "a star", "id": "1", "category": "x", "metadata": {"tag": "x"}, "source": ""})
TARGETS = (
    (record, (_record(),), True),
    (run_json, (_RUN,), True),
    (prompts_jsonl, (_PROMPT, _PROMPT + b"\n" + _PROMPT + b"\n"), True),
    (unfinished, (*_answers(), b"[]"), True),
    (scores, (b'[{"value": 0.5, "reason": "r", "seconds": 0.1}, {"value": null, "reason": "", "seconds": 0}]',), True),
)
