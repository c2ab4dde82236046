"""The code blocks and links of our Markdown pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
AT_THE_TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
SITE = sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced code blocks of a language, in order."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    return [token.content for token in tokens if token.type == "fence" and token.info.strip() == language]


def links(page: Path) -> Iterator[str]:
    """The targets of links and images."""
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        for child in token.children or []:
            if target := child.attrGet("href") or child.attrGet("src"):
                yield str(target)
