"""Text that comes from outside (servers, exceptions, files), before it is stored, printed or raised as an error.

The order matters: control characters are made visible, then secrets are hidden, and only then is anything cut. A key
that an escape sequence splits is whole again when it is searched for, and no cut leaves half of a key behind.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable

MAX_REASON = 2_000  # characters of a judge's reason that are stored
MAX_MESSAGE = 10_000  # characters of an error message
SHORTEST_SECRET = 8  # characters; a shorter key, such as "x" for a local server, may occur in any text by chance
SHORTEST_PART = 9  # characters of a secret that are hidden wherever they stand
HIDDEN = "***"
_JOINERS = "\u200c\u200d"  # invisible, but Persian, the scripts of India and emoji are written with them
_ESCAPE_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, the cursor
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC and other strings: titles, links, the clipboard
    r"|\x1b[ -/]*[0-~]"
)
_SECRET_NAME = re.compile(r"(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
_KEY_LIKE = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|hf|nvapi|pplx|csk|ghp|github_pat)[-_][A-Za-z0-9_-]{16,}|\bAIza[A-Za-z0-9_-]{20,}"
    r"|(?<![A-Za-z0-9_-])(?=[A-Za-z0-9_-]++\.[A-Za-z0-9_-]{8})(?:[A-Za-z0-9_-]*?-)??eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"
    r"|\bBearer\s+[A-Za-z0-9_\-.=+/]{16,}"
)
_OPAQUE = re.compile(r"(?!/)[A-Za-z0-9_\-+/=.~:]{16,}")  # no path, no sentence


def clean(text: str, limit: int = MAX_REASON, *, secrets: Iterable[str] = ()) -> str:
    """The text fit to be stored and shown: printable, without secrets, of at most about `limit` characters."""
    return shorten(hide_secrets(printable(text), *secrets), limit)


def printable(text: str) -> str:
    r"""The text without terminal escape sequences; other control and invisible characters are written out (\x07).

    Line ends and tabs stay. So do all letters, marks and emoji of any script. Lone surrogates, which UTF-8 cannot
    hold, are written out, too.
    """
    if text.isprintable():
        return text
    text = _ESCAPE_SEQUENCE.sub("", text).replace("\r\n", "\n")
    return text.translate(_Characters())


class _Characters(dict[int, str]):
    """What stands for each character, found out once for each."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        self[code] = character if _is_harmless(character) else _written_out(character)
        return self[code]


def _is_harmless(character: str) -> bool:
    return character.isprintable() or character in "\n\t" + _JOINERS or unicodedata.category(character) == "Zs"


def _written_out(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def hide_secrets(text: str, *secrets: str) -> str:
    """The text in which every part of a secret that is longer than eight characters is replaced by ***.

    Secrets are the given ones, and what the environment holds in variables whose names end in KEY, TOKEN, SECRET or
    PASSWORD. A secret of eight characters is hidden where all of it occurs; shorter ones are not. So is every word that
    has the form of a service's key (sk-..., hf_..., a Bearer token).
    """
    for secret in dict.fromkeys((*secrets, *environment_secrets())):
        if len(secret) >= SHORTEST_SECRET:
            text = _hide(text, secret)
    return _KEY_LIKE.sub(HIDDEN, text)


def looks_like_key(text: str) -> bool:
    """Whether a word in the text has the form of a service's key, or is part of a secret in the environment."""
    return hide_secrets(text) != text


def environment_secrets() -> list[str]:
    """The values of environment variables that look like keys by name and by value."""
    values = [value.strip() for name, value in os.environ.items() if _SECRET_NAME.search(name)]
    return [value for value in values if _OPAQUE.fullmatch(value)]


def _hide(text: str, secret: str) -> str:
    """The text with *** for each longest run of characters that is covered by parts of the secret."""
    size = min(SHORTEST_PART, len(secret))
    parts = {secret[start : start + size] for start in range(len(secret) - size + 1)}
    pieces: list[str] = []
    end = 0  # of what is written or hidden so far
    hidden_to = -1
    for start in range(len(text) - size + 1):
        if text[start : start + size] in parts:
            if start > hidden_to:
                pieces += [text[end:start], HIDDEN]
            end = hidden_to = start + size
    return "".join([*pieces, text[end:]]) if pieces else text


def shorten(text: str, limit: int) -> str:
    """The text, or its first and last characters with the number of those left out between; at most about `limit`."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]} [... {len(text) - 2 * half} characters left out ...] {text[-half:]}"
