"""Fetching official files: a real server on loopback, normal and broken, and a cache that is whole or absent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from milr.benchmarks.download import Source, cache_folder, fetch, load_files, sha256
from milr.types import MissingError, UsageError

CONTENT = b"a photo of a bench\r\na photo of a cow"
HASH = sha256(CONTENT)
KNOWN = Source("owner/name", "abc1234", "data/some file.txt", HASH)
UNKNOWN = Source("owner/name", "abc1234", "data/some file.txt")


class Server(ThreadingHTTPServer):
    """Serves `content` at the source's path in the manner of `mood`, and counts what it is asked for."""

    mood, content = "normal", CONTENT

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str] = []
        self.base = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        if self.server.mood == "missing":
            self.send_error(404)
            return
        if self.server.mood == "silent":
            return
        cut = self.server.mood == "cut"
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content[:5] if cut else self.server.content)

    def log_message(self, *arguments: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    instance = Server()
    thread = threading.Thread(target=instance.serve_forever, args=(0.01,))
    thread.start()
    yield instance
    instance.shutdown()
    thread.join()
    instance.server_close()


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_file_is_fetched_once_and_then_read_from_the_cache(server, tmp_path):
    assert fetch(KNOWN, base=server.base, folder=tmp_path) == CONTENT
    assert fetch(KNOWN, base=server.base, folder=tmp_path) == CONTENT
    assert server.requests == ["/owner/name/abc1234/data/some%20file.txt"]
    assert everything(tmp_path) == ["benchmarks/owner/name/abc1234/data/some file.txt"]


@pytest.mark.parametrize(
    ("mood", "says"),
    [("missing", "404"), ("cut", "IncompleteRead"), ("silent", "closed connection"), ("other", sha256(b"other"))],
)
def test_what_goes_wrong_is_told_with_address_hash_and_remedy_and_leaves_nothing(server, tmp_path, mood, says):
    server.mood, server.content = mood, b"other" if mood == "other" else CONTENT
    with pytest.raises(MissingError) as error:
        fetch(KNOWN, base=server.base, folder=tmp_path)
    for part in (f"{server.base}/owner/name/abc1234/data/some%20file.txt", HASH, "--prompts PATH", says):
        assert part in str(error.value)
    assert everything(tmp_path) == []
    server.mood, server.content = "normal", CONTENT
    assert fetch(KNOWN, base=server.base, folder=tmp_path) == CONTENT


def test_nobody_there(tmp_path):
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(MissingError, match=f"the download failed: .*refused.*{HASH}"):
            fetch(KNOWN, base=f"http://127.0.0.1:{taken.getsockname()[1]}", folder=tmp_path)


def test_a_damaged_file_in_the_cache_is_fetched_again(server, tmp_path):
    fetch(KNOWN, base=server.base, folder=tmp_path)
    cached = tmp_path / everything(tmp_path)[0]
    cached.write_bytes(CONTENT[:-1])
    assert fetch(KNOWN, base=server.base, folder=tmp_path) == CONTENT == cached.read_bytes()
    assert len(server.requests) == 2


def test_a_file_without_a_known_hash_is_held_to_what_came_first(server, tmp_path):
    assert fetch(UNKNOWN, base=server.base, folder=tmp_path) == CONTENT
    cached, note = (tmp_path / name for name in everything(tmp_path))
    assert note.read_text() == f"{HASH}\n"
    server.content = b"other"
    assert fetch(UNKNOWN, base=server.base, folder=tmp_path) == CONTENT, "the cache was not read"
    cached.unlink()
    with pytest.raises(MissingError, match=f"has the SHA-256 {sha256(b'other')}.*SHA-256 is {HASH}"):
        fetch(UNKNOWN, base=server.base, folder=tmp_path)
    note.write_text("nonsense")
    with pytest.raises(MissingError, match="sha256 is damaged: delete it"):
        fetch(UNKNOWN, base=server.base, folder=tmp_path)


def test_an_unknown_hash_is_said_to_be_unknown(server, tmp_path):
    server.mood = "missing"
    with pytest.raises(MissingError, match="its SHA-256 is not known to this version"):
        fetch(UNKNOWN, base=server.base, folder=tmp_path)


def test_a_cache_that_cannot_be_written(server, tmp_path):
    (tmp_path / "benchmarks").write_text("a file")
    with pytest.raises(UsageError, match="MILR_CACHE"):
        fetch(KNOWN, base=server.base, folder=tmp_path)


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("MILR_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("MILR_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "milr"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "milr"


def test_local_files_take_the_place_of_the_network(tmp_path):
    def never(source: Source) -> bytes:
        raise AssertionError("the network was asked")

    path = tmp_path / "some file.txt"
    path.write_bytes(CONTENT)
    for prompts in (path, tmp_path):
        files = load_files([KNOWN], prompts, never)
        assert files.contents == (CONTENT,) and files.official
    assert not load_files([UNKNOWN], path, never).official, "nobody knows whether it is the official file"
    path.write_bytes(b"mine")
    assert not load_files([KNOWN], path, never).official
    with pytest.raises(UsageError, match="No such file.*--prompts"):
        load_files([KNOWN], tmp_path / "none.txt", never)
    with pytest.raises(UsageError, match="a folder with it"):
        load_files([KNOWN, KNOWN], path, never)
