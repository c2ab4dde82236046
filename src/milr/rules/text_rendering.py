"""How well a picture shows the text that its prompt quotes, pure.

The score is that of Flow-GRPO's text reward (arXiv 2505.05470): 1 minus the edit distance by the wanted text's length,
not below 0, without blanks and capitals; a text that stands among more is fully right. Where a prompt quotes several
texts, the score is their mean, and each is compared with the line that is nearest to it, too (both our additions).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_QUOTED = re.compile(
    r'"([^"]+)"|\u201c([^\u201d]+)\u201d|\u00ab([^\u00bb]+)\u00bb|\u201e([^\u201c\u201d]+)[\u201c\u201d]'
    r"|(?<!\w)'([^']+(?:'\w[^']*)*)'(?!\w)|\u2018([^\u2018]+)\u2019(?!\w)"
)


def quoted_texts(prompt: str) -> tuple[str, ...]:
    """The texts between quotation marks, in their order; an apostrophe inside a word is none."""
    found = (next(filter(None, match.groups())) for match in _QUOTED.finditer(prompt))
    return tuple(text.strip() for text in found if _plain(text))


def text_score(wanted: str, lines: Sequence[str]) -> float:
    """How well `wanted` is among the `lines` that were read, in [0, 1]; 0 where nothing was read."""
    target, whole = _plain(wanted), _plain("".join(lines))
    if target in whole:
        return 1.0
    return max(_similarity(target, _plain(line)) for line in ("".join(lines), *lines))


def _similarity(target: str, read: str) -> float:
    from rapidfuzz.distance import Levenshtein

    return max(0.0, 1 - Levenshtein.distance(read, target) / len(target))


def _plain(text: str) -> str:
    """Without blanks and capitals."""
    return "".join(text.split()).casefold()
