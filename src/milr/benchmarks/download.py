"""A benchmark's official files: fetched at first use from a pinned commit, checked by SHA-256, kept in a cache.

None of them ships with the package. A file whose hash is not known to us (`Source.sha256` "") is accepted as it is
first downloaded: its hash is then written beside it, and every later read and download is checked against that.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

from milr.inputs.files import MEBIBYTE, read_file
from milr.types import MissingError, UsageError

GITHUB = "https://raw.githubusercontent.com"
MAX_BYTES = 64 * MEBIBYTE  # of a local file
TIMEOUT = 60.0  # seconds without a byte
UNKNOWN_HASH = "not known to this version"


@dataclass(frozen=True)
class Source:
    """One file of a GitHub repository at a commit; `sha256` "" where we could not learn the hash."""

    repository: str
    commit: str
    path: str
    sha256: str = ""

    @property
    def name(self) -> str:
        """The file's name without its folders."""
        return self.path.rpartition("/")[2]

    def address(self, base: str = GITHUB) -> str:
        """The URL from which it is downloaded."""
        return f"{base}/{self.repository}/{self.commit}/{quote(self.path)}"


@dataclass(frozen=True)
class Files:
    """The contents of a benchmark's files in the order of its sources.

    `official`: whether each one is known to be what the benchmark's authors published.
    """

    contents: tuple[bytes, ...]
    official: bool


Fetch = Callable[[Source], bytes]


def cache_folder() -> Path:
    """$MILR_CACHE, else milr in $XDG_CACHE_HOME, else ~/.cache/milr."""
    if folder := os.environ.get("MILR_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "milr"


def fetch(source: Source, *, base: str = GITHUB, folder: Path | None = None) -> bytes:
    """The content of the file, from the cache where an undamaged copy is there, else downloaded into it.

    MissingError, with the address and the expected hash, where the download fails or is another file.
    """
    path = (folder or cache_folder()) / "benchmarks" / source.repository / source.commit / source.path
    expected = source.sha256 or _recorded_hash(path)
    try:
        if path.is_file() and sha256(content := path.read_bytes()) == expected:
            return content
    except OSError as error:
        raise _unusable(path, error) from error
    content = _download(source, base, expected)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not expected:
            _replace(_hash_file(path), f"{sha256(content)}\n".encode())
        _replace(path, content)
    except OSError as error:
        raise _unusable(path, error) from error
    return content


def load_files(sources: Sequence[Source], prompts: Path | None = None, fetch: Fetch = fetch) -> Files:
    """The files of all `sources`, fetched, or from `prompts`: a folder with them, or the file itself if it is one.

    A local file may differ from the official one; UsageError where there is none.
    """
    if prompts is None:
        return Files(tuple(fetch(source) for source in sources), True)
    contents = tuple(_local(prompts, source, alone=len(sources) == 1) for source in sources)
    same = [sha256(content) == source.sha256 for content, source in zip(contents, sources, strict=True)]
    return Files(contents, all(same))


def sha256(content: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _local(prompts: Path, source: Source, *, alone: bool) -> bytes:
    path = prompts if alone and not prompts.is_dir() else prompts / source.name
    return read_local(path, source, "the file" if alone else "a folder with it")


def read_local(path: Path, source: Source, wanted: str = "a folder or a file with the prompts") -> bytes:
    """The content of a local file of prompts; UsageError, which says what is `wanted`, where it cannot be read."""
    try:
        return read_file(path, MAX_BYTES)
    except UsageError as error:
        reason = str(error).removeprefix(f"cannot read {path}: ").rstrip(".")
        raise UsageError(f"{path} cannot be read ({reason}): name {wanted} with --prompts, as at {source.address()}."
                         ) from None  # fmt: skip


def _download(source: Source, base: str, expected: str) -> bytes:
    try:
        with urlopen(source.address(base), timeout=TIMEOUT) as response:
            content: bytes = response.read()
    except HTTPError as error:
        error.close()
        raise _missing(source, base, expected, reason=f"the server says {error.code} {error.reason}") from error
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise _missing(source, base, expected, reason=f"the download failed: {reason}") from error
    if expected and sha256(content) != expected:
        raise _missing(source, base, expected, reason=f"the downloaded file has the SHA-256 {sha256(content)}")
    return content


def _missing(source: Source, base: str, expected: str, *, reason: str) -> MissingError:
    return MissingError(f"{source.name} could not be fetched from {source.address(base)} ({reason}): give a local copy "
                        f"with --prompts PATH; its SHA-256 is {expected or UNKNOWN_HASH}.")  # fmt: skip


def _unusable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"{path} cannot be used ({error.strerror or error}): name another cache with MILR_CACHE.")


def _hash_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _recorded_hash(path: Path) -> str:
    """The hash that the first download recorded beside the file; "" before that, MissingError where it is damaged."""
    try:
        recorded = _hash_file(path).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError):
        recorded = ""
    if not re.fullmatch("[0-9a-f]{64}", recorded):
        raise MissingError(f"{_hash_file(path)} is damaged: delete it, and {path.name} is fetched again.")
    return recorded


def _replace(path: Path, content: bytes) -> None:
    """Write under a temporary name, then rename: no other process ever reads half a file."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
