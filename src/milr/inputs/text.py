"""Text that others wrote: from bytes to letters, from a text to its lines, and whether any of it can be seen."""

from __future__ import annotations

import codecs
import re
import unicodedata
from pathlib import Path

from milr.inputs.files import MEBIBYTE, read_file
from milr.types import UsageError

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
          (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
_BLANKS = "\u115f\u1160\u2800\u3164\uffa0"  # fillers that are letters or symbols by their category
_INVISIBLE = ("Cc", "Cf", "Cs", "Cn", "Mn", "Me", "Zs", "Zl", "Zp")
_AROUND = " \t\r\n\f\v\ufeff\u200b\u2060\u00a0"  # blanks and marks of no width that are cut off at both ends


def decode_text(content: bytes, name: str) -> str:
    """The text of a file in UTF-8, or in UTF-16 or UTF-32 that begins with its mark.

    UsageError for any other encoding: without a mark they cannot be told apart, and a guess would change letters.
    """
    encoding = next((encoding for mark, encoding in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = 1 + content[: error.start].count(b"\n") if encoding.startswith("utf-8") else 0
        where = f" (line {line})" if line else ""
        raise UsageError(f"{name} is not UTF-8 text{where}: save it as UTF-8.") from None
    if "\0" in text:
        raise UsageError(f"{name} is not text, or text in an encoding that it does not name: save it as UTF-8.")
    return text


def read_template(path: Path) -> str:
    """The text of a file that says how something is asked, its lines ending with LF.

    UsageError for what is no text, or more than a mebibyte.
    """
    return re.sub("\r\n?", "\n", decode_text(read_file(path, MEBIBYTE), str(path)))


def split_lines(text: str) -> list[tuple[int, str]]:
    """The lines that show something, each with its number from 1; they end with LF, CR LF or CR alone."""
    lines = re.split("\r\n|\n|\r", text)
    return [(number, line) for number, line in enumerate(lines, 1) if shows_something(line)]


def shows_something(text: str) -> bool:
    """Whether a reader sees anything of the text: not only blanks, marks of no width and other invisible signs."""
    return any(unicodedata.category(letter) not in _INVISIBLE and letter not in _BLANKS for letter in text)


def trim(text: str) -> str:
    """The text without what is invisible at its two ends."""
    return text.strip().strip(_AROUND)


def control_character(text: str) -> str:
    """The first control character that is no tab and no line end, as `U+001B`; "" where there is none."""
    found = next((letter for letter in text if unicodedata.category(letter) == "Cc" and letter not in "\t\n\r"), "")
    return f"U+{ord(found):04X}" if found else ""
