"""Markdown, for platforms that have a markup of their own: what it says, and how to lay it out.

`read` turns a `clean` text into a tree (`markdown_tree`), which a platform writes as it likes, or
gives to `lay_out` with a `Script` of its own.
"""

from __future__ import annotations

from .markdown_layout import Mark, Script, in_columns, lay_out, nested, spelled_out
from .markdown_marks import MarkScript
from .markdown_reading import MAX_CHARS, clean, read
from .markdown_tree import Block, Code, Item, Listing, Prose, Quote, Rule, Run, Style, Table

__all__ = [
    "MAX_CHARS",
    "Block",
    "Code",
    "Item",
    "Listing",
    "Mark",
    "MarkScript",
    "Prose",
    "Quote",
    "Rule",
    "Run",
    "Script",
    "Style",
    "Table",
    "clean",
    "in_columns",
    "lay_out",
    "nested",
    "read",
    "spelled_out",
]
