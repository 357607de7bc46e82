"""What a document is made of: sections of blocks, whose text may hold $mathematics$, `code` and **emphasis**."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Formula:
    """A displayed formula."""

    latex: str


@dataclass(frozen=True)
class Items:
    """A list."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """A table: the first column holds names, the others are centered or, where ``wide`` names them, set as text."""

    name: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    wide: tuple[int, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A figure, drawn under ``name``; the caption says what to see in it."""

    name: str
    caption: str


@dataclass(frozen=True)
class Callout:
    """A statement shown prominently, with its verdict."""

    title: str
    verdict: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Details:
    """Something to look up: folded in HTML; in LaTeX set small, or left out when ``screen_only``."""

    summary: str
    blocks: tuple[Block, ...]
    name: str = ""
    screen_only: bool = False


@dataclass(frozen=True)
class Marks:
    """The invariance table: ``cells[row][column]`` is (invariant, name of its proof or witness), columns are numbered."""

    name: str
    caption: str
    rows: Sequence[str]
    legend: Sequence[tuple[str, str]]  # title and formula of each column
    cells: Sequence[Sequence[tuple[bool, str]]]


Block = Text | Formula | Items | Grid | Picture | Callout | Details | Marks


@dataclass(frozen=True)
class Section:
    """A titled part of a document."""

    name: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A title, a sentence below it, and sections."""

    title: str
    subtitle: str
    sections: tuple[Section, ...] = field(default=())
