"""The files of one finished sample as bytes: made from an outcome, read from one run's folder, written to another's."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from milr.runs.files import make_folder, read_bounded, why_unreadable, write_atomically, write_durably
from milr.runs.record_files import (
    MAX_RECORD_BYTES,
    decode_record,
    encode_record,
    name_of,
    picture_path,
    read_picture,
)
from milr.runs.records import PictureFile, Record, to_record
from milr.types import Outcome

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class SampleFiles:
    """The bytes of a sample's record and, in the order of its steps, of its pictures; `name` is `name_of` it."""

    name: str
    record: bytes
    pictures: tuple[bytes, ...]


@dataclass(frozen=True, repr=False)
class EncodedOutcome(Outcome):
    """An outcome whose files were made where it was found, as on another machine, and are written as they are."""

    files: SampleFiles | None = None


def encode_sample(outcome: Outcome, run: str) -> SampleFiles:
    """The files of a finished sample of the run with the digest `run`."""
    if isinstance(outcome, EncodedOutcome) and outcome.files:
        return outcome.files
    name = name_of(outcome.prompt, outcome.key.sample)
    pictures = tuple(_png(step.rollout.picture) for step in outcome.steps)
    return SampleFiles(name, encode_record(to_record(outcome, _named(name, pictures), run)), pictures)


def read_sample(folder: Path, name: str) -> tuple[Record, SampleFiles]:
    """A sample of the run in `folder`, each byte of it checked; DamagedError where it is not as it was written."""
    path = folder / "records" / f"{name}.json"
    try:
        content = read_bounded(path, MAX_RECORD_BYTES)
    except OSError as error:
        raise why_unreadable(error) from None
    record = decode_record(content, path)
    return record, SampleFiles(name, content, tuple(read_picture(folder, step) for step in record.steps))


def write_sample(folder: Path, files: SampleFiles) -> None:
    """Write a sample into a run's folder: first its pictures, then its record, whose existence marks it as finished."""
    record = folder / "records" / f"{files.name}.json"
    record.unlink(missing_ok=True)
    _write_pictures(folder / "images" / files.name, files)
    write_atomically(record, files.record, durable=True)


def _write_pictures(folder: Path, files: SampleFiles) -> None:
    """Write the pictures of a sample, durable before this returns, and delete others of an earlier attempt."""
    if folder.is_symlink():
        folder.unlink()  # the link, and nothing that it points to
    make_folder(folder)
    contents = {Path(picture_path(files.name, index)).name: content for index, content in enumerate(files.pictures)}
    write_durably(folder, contents)
    for path in folder.glob("*.png"):
        if path.name not in contents:
            path.unlink()


def _named(name: str, pictures: Sequence[bytes]) -> list[PictureFile]:
    return [PictureFile(picture_path(name, index), hashlib.sha256(content).hexdigest(), len(content))
            for index, content in enumerate(pictures)]  # fmt: skip


def _png(picture: Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, format="PNG")
    return content.getvalue()
