"""The wordings judges are asked in: ours, and a user's file in their place."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest

from milr.rewards.endpoint.wording import OWN_LABEL, PLACEHOLDERS, Wording
from milr.rules.judgements import final_score, json_verdict, zero_or_minus_one
from milr.types import UsageError


@pytest.mark.parametrize("name", PLACEHOLDERS)
def test_our_own_wordings_ask_for_everything_and_are_labelled(name: str) -> None:
    wording = Wording.load(name)
    assert wording.label == OWN_LABEL and "not comparable" in OWN_LABEL
    assert set(re.findall(r"\{(\w+)\}", wording.text)) == set(PLACEHOLDERS[name])
    filled = wording.fill(prompt="a red ball", explanation="round", testpoints="1. Style: red")
    assert "a red ball" in filled and not re.search(r"\{\w+\}", filled)


def test_every_wording_has_another_mark() -> None:
    assert len({Wording.load(name).sha256 for name in PLACEHOLDERS}) == len(PLACEHOLDERS)
    assert Wording("a {prompt}").sha256 == hashlib.sha256(b"a {prompt}").hexdigest()


def test_our_wordings_show_the_form_that_is_read() -> None:
    assert final_score(Wording.load("unified").text) == 0.625  # its example, 3.5
    assert json_verdict(Wording.load("self").text) == 0.0  # the last of its two examples
    last = Wording.load("judge").text.splitlines()[-1]  # it names both answers
    assert [zero_or_minus_one(answer) for answer in last[:-1].split(": ")[1].split(" or ")] == [1.0, 0.0]
    for line in ("Consistency: n", "Realism: n", "Aesthetic Quality: n"):
        assert line in Wording.load("wise").text.splitlines()


def test_a_system_turn_stands_above_a_line(tmp_path: Path) -> None:
    system, wording = Wording("You judge.\n---\n{prompt}\n---\nsecond", "mine").with_system()
    assert (system, wording.text, wording.label) == ("You judge.", "{prompt}\n---\nsecond", "mine")
    assert Wording("{prompt} --- yes").with_system() == ("", Wording("{prompt} --- yes"))
    assert Wording.load("wise-verified").with_system()[0].startswith("You check")
    with pytest.raises(UsageError, match=r"has \{prompt\} above the line ---"):
        Wording("About {prompt}.\n---\n{explanation}").with_system()


def test_braces_and_backslashes_in_a_prompt_stay() -> None:
    wording = Wording('{"Score": 0} {prompt} / {explanation} {other}')
    filled = wording.fill(prompt=r"{explanation} \1 {0}", explanation="{prompt}")
    assert filled == r'{"Score": 0} {explanation} \1 {0} / {prompt} {other}'


def test_a_file_takes_the_place_of_our_wording(tmp_path: Path) -> None:
    file = tmp_path / "official.txt"
    file.write_bytes("\ufeffJudge {prompt}\r\nby {explanation}\n".encode())
    wording = Wording.load("wise", file)
    assert wording.text == "Judge {prompt}\nby {explanation}" and wording.label == f"template {file}"
    assert wording.sha256 != Wording.load("wise").sha256


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("wise", b"{prompt}", "lacks {explanation}"), ("wise", b"Hello", "{prompt} and {explanation}"),
     ("judge", b"prompt", "lacks {prompt}"), ("judge", b"\xff{prompt}", "UTF-8"), ("judge", None, "No such file")],
)  # fmt: skip
def test_a_useless_file_is_refused(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    file = tmp_path / "template.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match=re.escape(message)) as refused:
        Wording.load(name, file)
    assert str(file) in str(refused.value)


def test_a_folder_is_no_template(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the judge template cannot be used: .* is a folder, not a file"):
        Wording.load("self", tmp_path)


def test_a_template_has_bounds(tmp_path: Path) -> None:
    file = tmp_path / "template.txt"
    file.write_bytes("{prompt}?".encode("utf-16"))
    assert Wording.load("self", file).text == "{prompt}?"
    file.write_bytes(b"{prompt}" + b"x" * 2**20)
    with pytest.raises(UsageError, match="has more than 1 MiB"):
        Wording.load("self", file)
    os.mkfifo(tmp_path / "pipe")
    for path, message in ((tmp_path / "pipe", "is a pipe"), (Path("/dev/zero"), "is a device")):
        with pytest.raises(UsageError, match=message):
            Wording.load("self", path)
