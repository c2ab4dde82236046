"""Log lines hold what others wrote (a path, the words of an error): each is cleaned before it is written."""

from __future__ import annotations

import logging

from milr.outside.text import MAX_MESSAGE, clean


class _Cleaner(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = clean(record.getMessage(), MAX_MESSAGE), ()
        return True


_CLEANER = _Cleaner()


def logger(name: str) -> logging.Logger:
    """The logger of a module, by its `__name__`; its lines are printable and without secrets, whoever handles them."""
    log = logging.getLogger(name)
    log.addFilter(_CLEANER)  # once: adding it again does nothing
    return log
