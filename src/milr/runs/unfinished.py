"""What a search that has not ended yet was answered so far, so that after a kill it goes on and not from its start.

`RUN/unfinished/NAME/` holds the answers of model and reward to one search, in files that are only ever added:
`000-DIGEST.safetensors` has the latents and pictures as tensors and everything else as JSON in its header, and DIGEST
is of the file's content, so that a damaged file is noticed and left out. The folder is deleted when the search's record
is written.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milr.outside.logs import logger
from milr.runs.files import read_bounded, remove_leftovers, write_atomically
from milr.types import Answer, ImageTrace, Score, TextTrace

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    Result = TextTrace | ImageTrace | Score | Answer | Image

VERSION = 1
FOLDER = "unfinished"
MAX_BYTES = 2**32  # of a file of answers
SECONDS_BETWEEN_SAVES = 5.0
"""A killed search loses at most this much, or its last request; a search that takes less is never written."""
TRACES: dict[str, type[TextTrace | ImageTrace]] = {"reason": TextTrace, "draw": ImageTrace}
VALUES: dict[str, type[Score | Answer]] = {"score": Score, "answer": Answer}
PIXELS = ("RGB", "RGBA", "L")  # modes of pictures that are nothing but their pixels


@dataclass(frozen=True)
class AnsweredRequest:
    """A request of a search, by its kind and a digest of its content, with its result and the seconds it took."""

    kind: str
    request: str
    result: Result
    seconds: float = 0.0


class UnfinishedSearch:
    """The answers that one search had before it was interrupted, and those that it gets now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._answers: dict[tuple[str, str], deque[AnsweredRequest]] = defaultdict(deque)
        self._unsaved: list[AnsweredRequest] = []
        self._num_files = 0
        self._last_save = time.monotonic()
        if folder.is_symlink():
            folder.unlink()  # the link, and nothing that it points to
        elif folder.is_dir():
            self._load()

    def take(self, kind: str, request: str) -> AnsweredRequest | None:
        """The answer that an earlier run got to this request, once; None where it got none."""
        answers = self._answers.get((kind, request))
        return answers.popleft() if answers else None

    def add(self, answer: AnsweredRequest) -> None:
        """Remember an answer until the next `save`."""
        self._unsaved.append(answer)

    @property
    def is_due(self) -> bool:
        """Whether there is something to save, and the last save is long enough ago."""
        return bool(self._unsaved) and time.monotonic() - self._last_save >= SECONDS_BETWEEN_SAVES

    def save(self) -> None:
        """Write what was added since the last time; where the disk does not take it, log a warning and go on."""
        answers, self._unsaved = self._unsaved, []
        self._last_save = time.monotonic()
        content = _to_bytes(answers)
        if not answers or content is None:
            return
        path = self.folder / f"{self._num_files:03d}-{_digest(content)}.safetensors"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content, durable=True)
            self._num_files += 1
        except OSError as error:
            logger(__name__).warning("%s cannot be written (%s); an interrupted search would begin again",
                                                path, error.strerror or error)  # fmt: skip

    def _load(self) -> None:
        remove_leftovers(self.folder)
        paths = sorted(self.folder.glob("*.safetensors"))
        numbers = [int(number) for path in paths if (number := path.stem.partition("-")[0]).isdecimal()]
        self._num_files = 1 + max(numbers, default=-1)  # damaged ones may have been removed between others
        for path in paths:
            for answer in _read(path):
                self._answers[answer.kind, answer.request].append(answer)


def is_damaged(path: Path) -> bool:
    """Whether a file of answers is not as it was written: its name does not say the digest of its content."""
    try:
        return path.stem.partition("-")[2] != _digest(read_bounded(path, MAX_BYTES))
    except OSError:  # it may be whole
        return False


def remove_search(run: Path, name: str) -> None:
    """Delete what is kept of the unfinished search `name` of the run in the folder `run`, if anything is."""
    folder = run / FOLDER / name
    if folder.is_symlink():
        folder.unlink()
    if folder.is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # others are unfinished
            folder.parent.rmdir()


def _to_bytes(answers: list[AnsweredRequest]) -> bytes | None:
    """The content of a file; None where nothing of it can be written down."""
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    entries: list[dict[str, Any]] = []
    for answer in answers:
        try:
            fields, tensor = _to_fields(answer)
            json.dumps(fields)
        except (TypeError, ValueError):  # what only a third party's model or reward could say
            continue
        if tensor is not None:
            tensors[str(len(entries))] = tensor
        entries.append({"kind": answer.kind, "request": answer.request, "seconds": answer.seconds, "result": fields})
    if not entries:
        return None
    return bytes(save(tensors, {"version": str(VERSION), "answers": json.dumps(entries)}))


def _read(path: Path) -> Iterator[AnsweredRequest]:
    """The answers in a file; none where it is damaged or of another version."""
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load

    try:
        content = read_bounded(path, MAX_BYTES)
        if path.stem.partition("-")[2] != _digest(content):
            return
        tensors = load(content)
        with safe_open(path, "pt") as file:  # type: ignore[no-untyped-call]
            header = file.metadata()
        if header.get("version") != str(VERSION):
            return
        for index, entry in enumerate(json.loads(header["answers"])):
            if not (isinstance(entry["kind"], str) and isinstance(entry["request"], str)):
                raise TypeError("an answer to no request")
            result = _from_fields(entry["kind"], entry["result"], tensors.get(str(index)))
            yield AnsweredRequest(entry["kind"], entry["request"], result, entry["seconds"])
    except (OSError, SafetensorError, LookupError, ValueError, TypeError, AttributeError, AssertionError,
            ArithmeticError, RuntimeError):  # fmt: skip
        logger(__name__).warning("%s cannot be read, and its search does without it", path)


def _to_fields(answer: AnsweredRequest) -> tuple[dict[str, Any], Tensor | None]:
    """A result as JSON, and its tensor if it has one; TypeError where it would not come back as it was."""
    result = answer.result
    if isinstance(result, (TextTrace, ImageTrace)):
        fields = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
        latents = fields.pop("latents")
        fields.pop("request", None)  # known to whoever asks again
        if not isinstance(fields["context"], (str, int, float, type(None))):
            raise TypeError("the context of this trace is the model's own")
        if latents is None:
            return fields, None
        return fields | {"device": str(latents.device)}, latents.detach().cpu().contiguous()
    if isinstance(result, (Score, Answer)):
        return dataclasses.asdict(result), None
    return _pixels(result)


def _pixels(picture: Image) -> tuple[dict[str, Any], Tensor]:
    import torch

    if picture.mode not in PIXELS:
        raise TypeError(f"a picture of mode {picture.mode} is more than its pixels")
    return {"mode": picture.mode, "size": picture.size}, torch.frombuffer(bytearray(picture.tobytes()),
                                                                          dtype=torch.uint8)  # fmt: skip


def _from_fields(kind: str, fields: dict[str, Any], tensor: Tensor | None) -> Result:
    """The result that `_to_fields` took apart."""
    if kind in VALUES:
        return VALUES[kind](**fields)
    if kind not in TRACES:
        from PIL import Image

        assert tensor is not None
        return Image.frombytes(fields["mode"], tuple(fields["size"]), tensor.numpy().tobytes())
    device = fields.pop("device", None)
    sequences = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    return TRACES[kind](**fields | sequences, latents=tensor if tensor is None or device is None else tensor.to(device))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
