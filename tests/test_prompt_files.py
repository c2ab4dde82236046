"""Files of prompts are read by their content; whatever cannot be read is refused, and no line is drawn unseen."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from milr.inputs import files, rows
from milr.inputs.json_text import MAX_DEPTH, JsonError, check_depth, parse_json
from milr.inputs.text import shows_something
from milr.rewards.detector import DetectorReward
from milr.types import MilrError, Prompt, UsageError
from milr.workflows.experiments import read_experiment
from milr.workflows.prompts import MAX_LETTERS, read_prompts

TWO = ["a red star", "two hearts"]
GENEVAL = {"tag": "colors", "include": [{"class": "star", "count": 1, "color": "red"}], "prompt": "a red star"}


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def texts(folder: Path, name: str, content: str | bytes) -> list[str]:
    return [prompt.text for prompt in read_prompts(write(folder, name, content))]


def objects(*values: Any) -> str:
    return "\n".join(json.dumps(value) for value in values)


# --- what is read

PAIR = [{"prompt": text} for text in TWO]


@pytest.mark.parametrize(
    "name, content",
    [
        ("x.json", objects(*PAIR)),
        ("x.JSONL", objects(*PAIR) + "\n\n"),
        ("x.txt", objects(*PAIR)),
        ("x", objects(*PAIR)),
        ("x.json", json.dumps(PAIR)),
        ("x.jsonl", json.dumps(PAIR, indent=1)),
        ("x.txt", json.dumps(TWO)),
        ("x.json", json.dumps(TWO, indent=2)),
        ("x.txt", objects(*TWO)),
        ("x.json", objects(*({"Prompt": text, "id": 1} for text in TWO))),
        ("x.json", objects(*({"caption": text, "n": {}} for text in TWO))),
        ("x.csv", "id,prompt\n1,a red star\n2,two hearts\n"),
        ("x.txt", "id,Prompt\r\n1,a red star\r\n2,two hearts"),
        ("x.csv", '\ufeffprompt,id\n"a red star",1\n\n"two hearts",2\n'),
        ("x.csv", "n;text\n1;a red star\n2;two hearts"),
        ("x.tsv", "Prompt\tCategory\na red star\tx\ntwo hearts\ty\n"),
        ("x.txt", "id\tcaption\n1\ta red star\n2\ttwo hearts"),
        ("x.csv", '"prompt"\n"a red star"\n"two hearts"\n'),
        ("x.txt", "prompt\na red star\ntwo hearts\n"),
        ("x.txt", "a red star\ntwo hearts\n".encode("utf-16")),
        ("x.txt", "a red star\r\ntwo hearts".encode("utf-8-sig")),
        ("x.csv", "prompt\r\na red star\r\ntwo hearts\r\n".encode("utf-16")),
        ("x.txt", "\ufeffa red star\n\ufefftwo hearts"),
        ("x.txt", b"\xfe\xff" + "a red star\ntwo hearts".encode("utf-16-be")),
        ("x.txt", "a red star\ntwo hearts".encode("utf-32")),
        ("x.txt", "a red star\rtwo hearts\r"),
        ("x.txt", "\n \na red star  \n\u200b\n\u3164\n\ufe0f\n\t\ntwo hearts\n"),
    ],
)
def test_the_same_prompts_in_many_forms(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert texts(tmp_path, name, content) == TWO


@pytest.mark.parametrize(
    "lines",
    [
        ["[oil painting] a cat", "(masterpiece)"],
        ["{red|blue} star", "b"],
        ['"Stop" on a sign', "b"],
        ["red, small star", "blue, large heart"],
        ["text, neon sign, night", "a star, b"],
        ["a\u2028b", "c\x0b".strip()],
        ["prompt engineering as a painting", "b"],
        ["cat,cute,4k", "dog,cute,8k"],
        ["0.5", "12"],
    ],
)
def test_plain_lines_that_resemble_something_else(tmp_path: Path, lines: list[str]) -> None:
    assert texts(tmp_path, "x.txt", "\n".join(lines)) == lines


def test_a_prompt_of_several_lines_in_a_table(tmp_path: Path) -> None:
    assert texts(tmp_path, "x.csv", 'prompt,n\n"a red\nstar",1\nb,2\n') == ["a red\nstar", "b"]


def test_metadata_of_an_array_is_that_of_its_objects(tmp_path: Path) -> None:
    for content in (json.dumps([GENEVAL], indent=1), json.dumps(GENEVAL), json.dumps(GENEVAL, indent=1)):
        (prompt,) = read_prompts(write(tmp_path, "x.json", content))
        assert prompt == Prompt("a red star", "", "colors", GENEVAL, json.dumps(GENEVAL))


# --- what is refused

DEEP = 100_000


@pytest.mark.parametrize(
    "name, content, says",
    [
        (
            "x.csv",
            "id,words\n1,a\n",
            r"a table without one column prompt or text or caption \(its columns: 'id', 'words'\)",
        ),
        ("x.txt", "id,description\n1,a\n2,b\n", "a table without"),
        ("x.tsv", "a\tb\nc\td\n", "a table without"),
        ("x.csv", "prompt,prompt\na,b\n", "a table without"),
        ("x.csv", 'id,prompt\n1,"a\n', "is no CSV"),
        ("x.csv", "id,prompt\n1,a\n2\n3,\n", "line 3: has 1 cells, and the header has 2; line 4: the prompt is empty"),
        ("x.json", "a red star\n", "line 1: is not JSON"),
        ("x.json", '[{"prompt": "a"},\n]', r"is not JSON \(.*line"),
        ("x.txt", '{"prompt": "a"}\n{"prompt" "b"}\nred\n', "line 2: is not JSON .*; line 3: is not JSON"),
        ("x.txt", 'a star\n{"prompt": "b"}\n', "line 2: is JSON, and other lines are not"),
        ("x.txt", 'a star\n["b"]\n', "line 2: is JSON, and other lines are not"),
        ("x.json", '{"prompts": ["a"]}', 'line 1: not a JSON object with a "prompt" field'),
        (
            "x.json",
            '[1, null, {"prompt": 2}, "\\u200b"]',
            "item 1: .*item 2: .*item 3: the prompt is no text; item 4: .*empty",
        ),
        ("x.json", '{"prompt": "\\ud800"}', "not valid Unicode"),
        ("x.json", '{"prompt": 1' + "1" * 5000 + "}", "too many dig"),
        ("x.txt", "a red st\xe4r".encode("cp1252"), r"not UTF-8 text \(line 1\): save it as UTF-8"),
        ("x.txt", "a\nb".encode("utf-16-le"), "save it as UTF-8"),
        ("x.txt", b"\xff\xfea", "save it as UTF-8"),
        ("x.txt", b"PAR1\0\0", "save it as UTF-8"),
        ("x.txt", b"\x1f\x8b\x08", "save it as UTF-8"),
        ("x.txt", "a \x1b[31mred star", r"line 1: the prompt holds the control character U\+001B"),
        (
            "x.txt",
            "a" * (MAX_LETTERS + 1),
            f"line 1: the prompt has {MAX_LETTERS + 1} letters, and at most {MAX_LETTERS}",
        ),
        ("x.yaml", "- a\n", "save it as plain lines, JSON lines or CSV"),
        ("x.txt", "\u200b\n", "holds no prompts"),
        ("x.txt", "", "holds no prompts"),
        ("x.json", "[]", "holds no prompts"),
        ("x.csv", "prompt\n", "holds no prompts"),
        ("x.csv", '""', "holds no prompts"),
        ("x.json", "[" * DEEP, f"is nested deeper than {MAX_DEPTH} levels"),
        ("x.txt", '{"a":' * DEEP, "is nested deeper"),
        ("x.json", '{"prompt": "a", "include": ' + "[" * 100 + "]" * 100 + "}", "line 1: is nested deeper than"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, name: str, content: str | bytes, says: str) -> None:
    with pytest.raises(UsageError, match=says) as refusal:
        texts(tmp_path, name, content)
    assert "\n" not in str(refusal.value) and "\x1b" not in str(refusal.value)


def test_all_bad_lines_are_told_at_once_ten_of_them_by_number(tmp_path: Path) -> None:
    lines = ['{"prompt": "a"}', *['{"no": 1}'] * 30, '{"prompt": "b"}', "nonsense"]
    with pytest.raises(UsageError) as refusal:
        texts(tmp_path, "x.jsonl", "\n".join(lines))
    assert str(refusal.value).count("line ") == 10 and "line 2: " in str(refusal.value)
    assert str(refusal.value).endswith("; and 21 more.")


# --- bounds and special files


def test_pipes_devices_and_links_to_them_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link.txt").symlink_to("/dev/zero")
    for path, kind in ((tmp_path / "pipe", "a pipe"), (tmp_path / "link.txt", "a device"), (tmp_path, "a folder")):
        with pytest.raises(UsageError, match=f"is {kind}, not a file"):
            read_prompts(path)
    for path in (tmp_path / "none", Path("x" * 5000), Path("a\0b")):
        with pytest.raises(UsageError, match="cannot read"):
            read_prompts(path)


def test_what_a_shell_hands_over_is_read() -> None:
    code = (
        "import sys; from pathlib import Path; from milr.workflows.prompts import read_prompts\n"
        "print([prompt.text for prompt in read_prompts(Path('/dev/stdin'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], input="a red star\n", capture_output=True, text=True)
    assert done.stdout.strip() == "['a red star']", done.stderr


def test_files_and_counts_have_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_BYTES", 10)
    with pytest.raises(UsageError, match="has more than 10 bytes"):
        texts(tmp_path, "x.txt", "a" * 11)
    assert texts(tmp_path, "x.txt", "a" * 10) == ["a" * 10]
    monkeypatch.setattr(rows, "MAX_ROWS", 2)
    for content in ("a\nb\nc", "\n" * 10):
        with pytest.raises(UsageError, match="has more than 2 rows"):
            texts(tmp_path, "x.txt", content)
    assert files.describe_size(64 * 2**20) == "64 MiB"


@pytest.mark.parametrize(
    "text, shows",
    [
        ("a", True),
        (" ", False),
        ("\u200b\u2060\ufeff", False),
        ("\u3164", False),
        ("\u2800", False),
        ("\ufe0f", False),
        ("\u00ad", False),
        ("\U000e0041", False),
        ("星", True),
        ("🌟", True),
        (".", True),
        ("", False),
        ("\u0301", False),
    ],
)
def test_what_shows_nothing(text: str, shows: bool) -> None:
    assert shows_something(text) == shows


def test_depth() -> None:
    nested: Any = 0
    for _ in range(MAX_DEPTH):
        nested = [nested]
    check_depth(nested)
    with pytest.raises(JsonError):
        check_depth([nested])
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(JsonError):
        check_depth(endless)
    assert parse_json("[1, {}]") == [1, {}]


# --- anything at all

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["prompt", "text", "include", "tag", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
PIECES = st.sampled_from(
    [
        "[",
        "]",
        "{",
        "}",
        '"',
        ",",
        "\t",
        ";",
        "\n",
        "\r",
        "prompt",
        "id",
        ":",
        "a star",
        "\\",
        "\0",
        "\u200b",
        "\u2028",
        "\ud7ff",
        "\x1b",
        "'",
        "1e999",
        "NaN",
        '{"prompt": "a"}',
    ]
)
CONTENT = (
    st.binary(max_size=200)
    | st.lists(PIECES, max_size=30).map(lambda pieces: "".join(pieces).encode())
    | st.lists(JSON, max_size=4).map(lambda values: objects(*values).encode())
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.text(max_size=60).map(lambda text: text.encode("utf-16", "surrogatepass"))
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=CONTENT, suffix=st.sampled_from([".txt", ".json", ".jsonl", ".csv", ".tsv", ""]))
def test_only_milr_s_own_errors_come_out_and_only_prompts(tmp_path: Path, content: bytes, suffix: str) -> None:
    try:
        prompts = read_prompts(write(tmp_path, f"x{suffix}", content))
    except MilrError as error:
        str(error).encode()
        return
    assert prompts and all(shows_something(prompt.text) and len(prompt.text) <= MAX_LETTERS for prompt in prompts)
    for prompt in prompts:
        assert json.loads(json.dumps([prompt.metadata, prompt.source, prompt.category])) is not None


# --- experiment files


@pytest.mark.parametrize(
    "content, says",
    [
        ("x = " + "[" * DEEP, f"is nested deeper than {MAX_DEPTH} levels"),
        ("x" + ".x" * 5000 + " = 1", "is nested deeper"),
        (b"title = '\xe4'", "save it as UTF-8"),
        ("title =", "is not TOML"),
        ("a" * (2**20 + 1), "has more than 1 MiB"),
    ],
)
def test_experiment_files_that_cannot_be_read(tmp_path: Path, content: str | bytes, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read_experiment(write(tmp_path, "x.toml", content))


TOML = st.lists(
    st.sampled_from(
        ["title", "benchmark", "rows", "a", "seeds", "=", "[", "]", "{", "}", ".", '"', "\n", "1", "x", " "]
    ),
    max_size=40,
).map("".join)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=TOML)
def test_only_milr_s_own_errors_come_out_of_experiment_files(tmp_path: Path, content: str) -> None:
    with contextlib.suppress(MilrError):
        read_experiment(write(tmp_path, "x.toml", content))


VALUES = st.none() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)


@settings(max_examples=200, deadline=None)
@given(
    metadata=st.dictionaries(
        st.sampled_from(["tag", "include", "exclude"]),
        VALUES
        | st.lists(
            st.dictionaries(
                st.sampled_from(["class", "count", "color", "position"]),
                VALUES | st.just("star") | st.just(["above", 0]),
                max_size=4,
            ),
            max_size=3,
        ),
        max_size=3,
    )
)
def test_metadata_is_judged_or_refused(metadata: dict[str, Any]) -> None:
    prompt = Prompt("a red star", metadata=metadata)
    judge = DetectorReward()
    try:
        judge.check(prompt)
    except UsageError:
        return
    assert judge.judge(Image.new("RGB", (64, 64)), metadata).value is not None
