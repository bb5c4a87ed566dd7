"""What a text in Markdown says, as a tree that any platform can write in its own way."""

from __future__ import annotations

from typing import Literal, TypeAlias

from ..actors.frozen import message

__all__ = ["Block", "Code", "Item", "Listing", "Prose", "Quote", "Rule", "Run", "Style", "Table"]

Style: TypeAlias = Literal["bold", "italic", "struck", "code"]


@message
class Run:
    """Text in one style throughout, line breaks included."""

    text: str
    """Never empty."""
    styles: tuple[Style, ...] = ()
    """The outermost first, `code` last; none twice."""
    url: str | None = None
    """Where it leads: `http`, `https` or `mailto`, free of white space and of what quotes. A link
    is one run, so its text has the styles which all of that text has."""


@message
class Prose:
    """A paragraph, a heading, or a cell of a table."""

    runs: tuple[Run, ...]
    heading: int = 0
    """1 to 6 for a heading."""
    spaced: bool = False
    """Whether an empty line stands before it; so for every block."""
    lines: range = range(0)
    """Which lines of the text it takes; none if it is a cell."""


@message
class Code:
    """A block of code."""

    text: str
    """Without the line break at its end."""
    language: str = ""
    """One word of letters, digits and `+#._-`, or empty."""
    spaced: bool = False


@message
class Quote:
    """A quotation."""

    blocks: tuple[Block, ...]
    spaced: bool = False


@message
class Item:
    """One item of a list."""

    blocks: tuple[Block, ...]
    spaced: bool = False


@message
class Listing:
    """A list."""

    items: tuple[Item, ...]
    first: int | None
    """The first item's number; None if the items have none."""
    spaced: bool = False


@message
class Table:
    """A table. Every row has as many cells as the first one, which is its head."""

    rows: tuple[tuple[Prose, ...], ...]
    spaced: bool = False
    lines: range = range(0)


@message
class Rule:
    """A line between two parts of a text."""

    spaced: bool = False


Block: TypeAlias = Prose | Code | Quote | Listing | Table | Rule
