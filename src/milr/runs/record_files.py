"""A record on disk: its bytes with their checksum, and the pictures that it names.

A record's file begins with the SHA-256 of all that follows, and holds the SHA-256 and the size of every picture. What
is checked when: a record's checksum whenever it is read; the size of every picture, and the bytes of the first
MAX_CHECKED_BYTES of pictures of a run, when the run goes on or is reported, compared or exported; the bytes of a
picture whenever it is shown, restored or copied; everything by `milr doctor RUN`. Records of older versions have no
checksum: they are valid where they can be read and their pictures end as a PNG ends.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydantic_core
from pydantic import ValidationError

from milr.runs.files import DamagedError, UnreadableError, read_bounded, why_unreadable
from milr.runs.records import Record, RecordWithoutTokens, StepRecord
from milr.runs.run_file import check_version
from milr.types import Prompt

MAX_RECORD_BYTES = 2**26  # ten thousand steps of 576 image tokens and 512 text tokens
MAX_PICTURE_BYTES = 2**26
MAX_PIXELS = 2**26  # of a stored picture
MAX_CHECKED_BYTES = 2**30  # of a run's pictures, where not all are asked for: about a second
_CHECKSUM = b'{\n "checksum": "%s",'
_LENGTH = len(_CHECKSUM % (b"0" * 64))
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


@dataclass(frozen=True)
class Damage:
    """A damaged sample: the path of its record or picture, relative to the run's folder, and what is wrong with it."""

    path: str
    reason: str
    unreadable: bool = False  # for now: it may be whole

    def __str__(self) -> str:
        return f"{self.path} {self.reason}"


def name_of(prompt: Prompt, sample: int) -> str:
    """The file name of one sample, without an ending: readable, portable, and different for different prompts."""
    slug = re.sub(r"[^a-z0-9]+", "-", (prompt.id or prompt.text).lower())[:48].strip("-") or "prompt"
    digest = hashlib.sha256(f"{prompt.id}\0{prompt.text}".encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{slug}-{digest}-{sample}"


def picture_path(name: str, index: int) -> str:
    """The path of the picture at a position of a sample's steps, relative to the run's folder."""
    return f"images/{name}/{index:03d}.png"


# --- records


def encode_record(record: Record) -> bytes:
    """The content of a record's file: JSON that begins with the checksum of what follows it."""
    text = record.model_dump_json(indent=1, exclude={"checksum"}).encode()
    rest = text.removeprefix(b"{")
    return _CHECKSUM % hashlib.sha256(rest).hexdigest().encode() + rest


def read_record(path: Path, *, tokens: bool = True) -> Record:
    """The record at `path`; DamagedError where it is not as it was written, UsageError where its format is another.

    `tokens` False leaves out `text_ids` and `image_ids`.
    """
    try:
        content = read_bounded(path, MAX_RECORD_BYTES)
    except OSError as error:
        raise why_unreadable(error) from None
    return decode_record(content, path, tokens=tokens)


def decode_record(content: bytes, path: Path, *, tokens: bool = True) -> Record:
    """The record that the file at `path` holds, from its content; errors and `tokens` as in `read_record`."""
    try:
        record = (Record if tokens else RecordWithoutTokens).model_validate_json(content)
    except ValidationError as error:
        _check_format(content, path)
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or "all of it"
        raise DamagedError(f"is damaged ({field[:80]}: {str(first['msg'])[:120]})") from None
    if not _is_as_written(record, content):
        raise DamagedError("is damaged (its content does not fit its checksum)")
    _check_paths(record, path.stem)
    return record


def _check_format(content: bytes, path: Path) -> None:
    try:
        check_version(pydantic_core.from_json(content), path)
    except ValueError:  # no JSON at all
        return


def _is_as_written(record: Record, content: bytes) -> bool:
    """Whether the content fits the checksum it begins with; without one, no part of the record may speak of any."""
    if content[:_LENGTH] == _CHECKSUM % record.checksum.encode():
        return hashlib.sha256(content[_LENGTH:]).hexdigest() == record.checksum
    return not record.checksum and not any(step.picture_sha256 for step in record.steps)


def _check_paths(record: Record, name: str) -> None:
    """DamagedError where the record is of another sample than its file's name says, or names pictures elsewhere."""
    if name_of(record.prompt, record.sample) != name:
        raise DamagedError("is damaged (it is the record of another sample)")
    for index, step in enumerate(record.steps):
        if step.picture != picture_path(name, index):
            raise DamagedError(f"is damaged (step {index} names the picture {step.picture[:80]!r})")


# --- pictures


class PictureChecks:
    """Checks pictures of the run in `folder`: their sizes, and the bytes of the first `limit` bytes of them."""

    def __init__(self, folder: Path, limit: float = MAX_CHECKED_BYTES) -> None:
        self.folder, self.limit = folder, limit

    def damage(self, record: Record) -> Iterator[Damage]:
        """What is wrong with the pictures of a record; whether the folder that holds them is a link is asked once."""
        parent = os.path.dirname(record.first.picture)
        if linked := next((path for path in ("images", parent) if os.path.islink(self.folder / path)), None):
            yield Damage(linked, "is a link, and pictures are read inside the run's folder only")
            return
        for step in record.steps:
            if not self._is_whole(step) and (problem := self._problem(step)):
                yield Damage(step.picture, str(problem), isinstance(problem, UnreadableError))

    def _is_whole(self, step: StepRecord) -> bool:
        """Whether the picture is there as it was written; the quick answer, where it is and is to be read."""
        if not step.picture_sha256 or self.limit < step.picture_bytes:
            return False
        try:
            content = read_bounded(os.path.join(self.folder, step.picture), step.picture_bytes)
        except OSError:
            return False
        whole = hashlib.sha256(content).hexdigest() == step.picture_sha256
        self.limit -= step.picture_bytes if whole else 0
        return whole

    def _problem(self, step: StepRecord) -> DamagedError | None:
        path = os.path.join(self.folder, step.picture)
        try:
            status = os.lstat(path)
        except OSError as error:
            problem = why_unreadable(error)
            unreadable = isinstance(problem, UnreadableError)
            return problem if unreadable else DamagedError(f"is missing ({error.strerror})")
        if not stat.S_ISREG(status.st_mode):
            return DamagedError("is not a plain file")
        if step.picture_sha256 and status.st_size != step.picture_bytes:
            return DamagedError(f"has {status.st_size:,} bytes instead of {step.picture_bytes:,}")
        self.limit -= status.st_size
        if self.limit < 0 and step.picture_sha256:
            return None
        try:
            _read_checked(path, step)
        except DamagedError as error:
            return error
        return None


def read_picture(folder: Path, step: StepRecord) -> bytes:
    """The bytes of a step's picture as they were written; DamagedError where they are not, or lie elsewhere."""
    if any((folder / parent).is_symlink() for parent in list(Path(step.picture).parents)[:-1]):
        raise DamagedError("is behind a link, and pictures are read inside the run's folder only")
    return _read_checked(folder / step.picture, step)


def _read_checked(path: Path | str, step: StepRecord) -> bytes:
    try:
        content = read_bounded(path, MAX_PICTURE_BYTES)
    except OSError as error:
        raise why_unreadable(error) from None
    if step.picture_sha256 and hashlib.sha256(content).hexdigest() != step.picture_sha256:
        raise DamagedError("is damaged (its content does not fit its checksum)")
    if not step.picture_sha256 and not content.endswith(_PNG_END):
        raise DamagedError("is damaged (it does not end as a PNG does)")
    return content
