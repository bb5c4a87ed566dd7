"""How a text that was read is laid out where a platform shows lines of text.

A platform gives a `Script`: how it writes a stretch of text, a block of code and a quotation.
`lay_out` does the rest: lists and tables as lines, and an empty line where the text had one, so
that what is written is hardly ever longer than what was read.
"""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from .markdown_tree import Block, Code, Listing, Prose, Quote, Rule, Run, Table

__all__ = ["Mark", "Script", "in_columns", "lay_out", "nested", "spelled_out"]

Mark: TypeAlias = tuple[str, str]
"""What stands before and after a stretch of text."""

_RULE: Final = "———"
_WIDEST_COLUMN: Final = 40
"""Longer cells are not aligned with others, so that a table stays about as long as it was."""


class Script(ABC):
    """How a platform that shows lines writes what is not a matter of lines."""

    bullet: str = "•"
    """Stands before an item without a number."""

    @abstractmethod
    def runs(self, runs: Sequence[Run]) -> str:
        """A stretch of text."""

    @abstractmethod
    def code(self, code: Code) -> str:
        """A block of code; a table too is one."""

    @abstractmethod
    def quote(self, inner: str, depth: int) -> str:
        """A quotation of which `inner` is written; `depth` is 0 for one in no other."""


def lay_out(blocks: Iterable[Block], script: Script) -> str:
    """`blocks` as lines."""
    return _lines(blocks, script, 0, 0)


def nested(
    runs: Iterable[Run], marks: Callable[[Run], Sequence[Mark]], escape: Callable[[str], str]
) -> str:
    """`runs` between their marks, the outermost first.

    Neighbours share marks. What is opened last is closed first.
    """
    written: list[str] = []
    opened: list[Mark] = []
    for run in runs:
        wanted = marks(run)
        shared = 0
        while shared < min(len(opened), len(wanted)) and opened[shared] == wanted[shared]:
            shared += 1
        while len(opened) > shared:
            written.append(opened.pop()[1])
        for mark in wanted[shared:]:
            written.append(mark[0])
            opened.append(mark)
        written.append(escape(run.text))
    written.extend(end for _, end in reversed(opened))
    return "".join(written)


def spelled_out(run: Run) -> str:
    """The text of `run`, with the address behind it if it is a link with a text of its own."""
    if run.url is None or run.url in (run.text, f"mailto:{run.text}"):
        return run.text
    return f"{run.text} ({run.url})"


def in_columns(table: Table) -> str:
    """A table as lines, its columns aligned for letters of one width."""
    rows = [["".join(map(spelled_out, cell.runs)) for cell in row] for row in table.rows]
    widths = [
        max((width for width in map(_width, column) if width <= _WIDEST_COLUMN), default=0)
        for column in zip(*rows, strict=True)
    ]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(
        " | ".join(
            cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    )


def _lines(blocks: Iterable[Block], script: Script, quotes: int, lists: int) -> str:
    """`blocks`, inside so many quotations and lists."""
    written: list[str] = []
    for block in blocks:
        if written:
            written.append("\n\n" if block.spaced else "\n")
        match block:
            case Prose(heading=0):
                written.append(script.runs(block.runs))
            case Prose():
                written.append(script.runs(tuple(map(_bold, block.runs))))
            case Code():
                written.append(script.code(block))
            case Table():
                written.append(script.code(Code(text=in_columns(block))))
            case Rule():
                written.append(_RULE)
            case Quote():
                inner = _lines(block.blocks, script, quotes + 1, 0)
                written.append(script.quote(inner, quotes))
            case Listing():
                written.append(_listing(block, script, quotes, lists))
    return "".join(written)


def _listing(listing: Listing, script: Script, quotes: int, lists: int) -> str:
    """A list, its items indented by two for each list that it is in."""
    written: list[str] = []
    for number, item in enumerate(listing.items, start=listing.first or 0):
        if written:
            written.append("\n\n" if item.spaced else "\n")
        bullet = script.bullet if listing.first is None else f"{number}."
        inner = _lines(item.blocks, script, quotes, lists + 1)
        beside = not item.blocks or isinstance(item.blocks[0], Prose | Listing | Rule)
        written.append("  " * lists + bullet + (" " if beside else "\n"))
        written.append(inner.lstrip(" ") if beside else inner)
    return "".join(written)


def _bold(run: Run) -> Run:
    if "bold" in run.styles:
        return run
    return Run(text=run.text, styles=("bold", *run.styles), url=run.url)


def _width(text: str) -> int:
    """How many columns `text` takes."""
    return sum(
        0
        if unicodedata.category(char).startswith("M")
        else 2
        if unicodedata.east_asian_width(char) in "WF"
        else 1
        for char in text
    )
