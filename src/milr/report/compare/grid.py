"""The grid of a comparison's page: a card for each sample, on it the picture of each row."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from milr.report.cards import Filter, category_filters, category_numbers
from milr.report.compare.records import ComparedSample, Comparison, ShownPicture
from milr.report.compare.tables import number
from milr.report.pictures import THUMBNAIL, EmbeddedPicture, embed

EMBEDDED = 300  # pictures that the page holds itself; it loads the others from the runs' folders when they are seen
MARKS = {"differ": "≠ rows differ", "same": "= rows agree", "unscored": "⚠ unscored"}


class Address(NamedTuple):
    """Where a picture is: `shown` is "" where it is missing; `whole` is its file where `shown` is a smaller copy."""

    shown: str
    whole: str = ""


class Shot(NamedTuple):
    """A row's picture on a card; `best`: no row does better, and some worse."""

    title: str
    score: str
    address: Address
    best: bool


class Card(NamedTuple):
    """A sample. `scores` are those of all rows for the script, `changes` what updates did with the rows' names."""

    sample: ComparedSample
    marks: str
    scores: str
    changes: tuple[tuple[str, str], ...]
    shots: tuple[Shot, ...]


@dataclass(frozen=True)
class Grid:
    """What the page shows of all samples; the pictures of the first `embedded` cards are in it, others `linked`.

    `files`: there are files that the page loads when they are seen or enlarged.
    `reference` is the index of the row that others are tested against, `several`: prompts have more than one sample.
    """

    cards: tuple[Card, ...]
    embedded: int
    linked: bool
    files: bool
    pixelated: bool
    reference: int
    several: bool
    numbers: dict[str, int]
    categories: list[Filter]
    marks: list[Filter]


def picture_grid(comparison: Comparison, folder: Path) -> Grid:
    """The grid for a page that will lie in `folder`."""
    samples, titles = comparison.pictures, [row.title for row in comparison.rows]
    whole = EMBEDDED // len(titles)
    embedded = [[_embed(picture) for picture in sample.pictures] for sample in samples[:whole]]
    links = _links(samples, folder)
    addresses = [list(map(_held, held, files)) for held, files in zip(embedded, links[:whole], strict=True)]
    addresses += [[Address(link) for link in files] for files in links[whole:]]
    cards = tuple(_card(sample, titles, given) for sample, given in zip(samples, addresses, strict=True))
    names = [sample.category for sample in samples]
    numbers = category_numbers(names)
    return Grid(
        cards=cards,
        embedded=whole,
        linked=len(samples) > whole,
        files=len(samples) > whole or any(address.whole for given in addresses for address in given),
        pixelated=any(picture.pixelated for pictures in embedded for picture in pictures),
        reference=titles.index(comparison.against),
        several=comparison.searches > comparison.prompts,
        numbers=numbers,
        categories=category_filters(names, numbers),
        marks=_mark_filters(cards),
    )


def _embed(picture: ShownPicture) -> EmbeddedPicture:
    return embed(picture.run / picture.file, THUMBNAIL) if picture.file else EmbeddedPicture("", False)


def _held(picture: EmbeddedPicture, link: str) -> Address:
    """The address of a picture that is in the page: a small one is there as it is."""
    return Address(picture.uri, link if picture.uri and not picture.pixelated else "")


def _links(samples: Sequence[ComparedSample], folder: Path) -> list[list[str]]:
    """The addresses of the pictures relative to `folder`; "" where there is no file."""
    runs = {picture.run for sample in samples for picture in sample.pictures}
    paths = {run: os.path.abspath(run) for run in runs}
    relative = {run: _relative(path, folder) for run, path in paths.items()}

    def link(picture: ShownPicture) -> str:
        there = picture.file and relative[picture.run] and os.path.exists(f"{paths[picture.run]}/{picture.file}")
        return f"{relative[picture.run]}/{quote(picture.file)}" if there else ""

    return [[link(picture) for picture in sample.pictures] for sample in samples]


def _relative(path: str, folder: Path) -> str:
    """The address of a run from the page's folder; "" where there is none, as between the drives of Windows."""
    try:
        return quote(os.path.relpath(path, folder).replace(os.sep, "/"))
    except ValueError:
        return ""


def _card(sample: ComparedSample, titles: Sequence[str], addresses: Sequence[Address]) -> Card:
    scores = [picture.score for picture in sample.pictures]
    highest = max((score for score in scores if score is not None), default=None)
    shots = tuple(
        Shot(title, number(score), address, sample.spread > 0 and score == highest)
        for title, score, address in zip(titles, scores, addresses, strict=True)
    )
    marks = "differ" if sample.spread else "same"
    return Card(
        sample,
        marks if None not in scores else f"{marks} unscored",
        " ".join("-" if score is None else f"{score:.6g}" for score in scores),
        _changes(sample, titles),
        shots,
    )


def _changes(sample: ComparedSample, titles: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """What the updates did, with the names of the rows of which that holds."""
    names: dict[str, list[str]] = {}
    for title, picture in zip(titles, sample.pictures, strict=True):
        names.setdefault(picture.change, []).append(title)
    return tuple((change, ", ".join(rows)) for change, rows in names.items())


def _mark_filters(cards: Sequence[Card]) -> list[Filter]:
    counts = Counter(mark for card in cards for mark in card.marks.split())
    return [Filter(kind, text, counts[kind]) for kind, text in MARKS.items() if kind != "unscored" or counts[kind]]
