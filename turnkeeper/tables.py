"""Tables for terminals: columns that align, whatever the letters in them are as wide as."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from .channels.display import printable

__all__ = ["clip", "table", "width_of"]

_GAP: Final = "  "
_LINE_END: Final = " ↵ "
"""Stands for a line feed inside of a cell."""
_LEAST: Final = 8
"""Columns that the last cell keeps however narrow the terminal is."""


def width_of(text: str) -> int:
    """How many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    return sum(_columns(letter) for letter in text)


def _columns(letter: str) -> int:
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in ("W", "F") else 1


def clip(text: str, columns: int) -> str:
    """`text` in at most `columns` columns, its end replaced by `…` if it is longer."""
    if width_of(text) <= columns:
        return text
    kept, used = 0, 1
    for letter in text:
        used += _columns(letter)
        if used > columns:
            break
        kept += 1
    return text[:kept] + "…"


def table(
    headings: Sequence[str], rows: Sequence[Sequence[object]], *, columns: int | None = None
) -> Iterator[str]:
    """The lines of a table: headings, then rows. Numbers stand to the right.

    Args:
        headings: one for each column.
        rows: cells; None is shown as `-`, and text is made safe to print.
        columns: width of the terminal, to which the last column is cut; None without one.
    """
    cells = [[_shown(cell) for cell in row] for row in rows]
    widths = [
        max(width_of(heading), *(width_of(row[i]) for row in cells), 0)
        for i, heading in enumerate(headings)
    ]
    if columns is not None:
        before = sum(widths[:-1]) + len(_GAP) * (len(widths) - 1)
        widths[-1] = min(widths[-1], max(columns - before, _LEAST))
    right = [_is_number(row[i] for row in rows) for i in range(len(headings))]
    for line in [list(headings), *cells]:
        padded = [
            _pad(clip(cell, widths[i]), widths[i], right=right[i]) for i, cell in enumerate(line)
        ]
        yield _GAP.join(padded).rstrip()


def _is_number(column: Iterable[object]) -> bool:
    kinds = {type(cell) for cell in column}
    return int in kinds and kinds <= {int, type(None)}


def _shown(cell: object) -> str:
    if cell is None:
        return "-"
    return printable(cell.replace("\n", _LINE_END)) if isinstance(cell, str) else str(cell)


def _pad(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - width_of(text))
    return space + text if right else text + space
