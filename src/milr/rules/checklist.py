"""The yes/no questions in what a writer made of a prompt; pure."""

from __future__ import annotations

import re

MAX_QUESTIONS = 8
MAX_LETTERS = 200  # of a question
_MARKS = re.compile(r"^[\s>*#_`\"'-]*(?:(?:\(?\d{1,2}|q\d{0,2}|question \d{1,2})[.):]+)?[\s*_`\"'-]*", re.IGNORECASE)
_NO_YES_OR_NO = re.compile(r"(?:what|which|who|whose|where|when|why|how)\b", re.IGNORECASE)


def read_questions(text: str) -> tuple[str, ...]:
    """The questions of a list, one a line, without numbers and marks; empty where the text holds none.

    Questions that no yes answers ("How many ...?"), that are longer than MAX_LETTERS or that came before are left out,
    and so are all after the first MAX_QUESTIONS.
    """
    lines = (_MARKS.sub("", line, count=1).rstrip(" \t\r*_`\"'") for line in text.splitlines())
    questions = (line for line in lines if line.endswith("?") and 2 < len(line) <= MAX_LETTERS)
    usable: dict[str, str] = {}
    for question in questions:
        if not _NO_YES_OR_NO.match(question):
            usable.setdefault(question.lower(), question)
    return tuple(usable.values())[:MAX_QUESTIONS]
