"""How commands print: JSON for programs, tables for people, hints beside both."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final, TypeVar

from ..actors.messages import Address
from ..channels.display import printable
from ..plain import to_json
from ..stories import show_place
from ..tables import table
from .base import Invocation

__all__ = [
    "TERMINAL_ROWS",
    "hint",
    "limit_of",
    "moment",
    "place",
    "print_fields",
    "print_json",
    "print_line",
    "print_rows",
]

TERMINAL_ROWS: Final = 50
"""Rows of a list that a terminal gets unless `--limit` says otherwise."""

T = TypeVar("T")


def print_line(text: str) -> None:
    """Print one line, safe to show."""
    sys.stdout.write(printable(text) + "\n")


def hint(text: str) -> None:
    """Say something beside the output."""
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()


def print_json(value: object) -> None:
    """Print the one JSON document that a command answers with."""
    sys.stdout.write(to_json(value, indent=2 if sys.stdout.isatty() else None) + "\n")


def limit_of(invocation: Invocation) -> int | None:
    """How many entries to list: `--limit`, else a screenful on a terminal, else all (None)."""
    given: int | None = invocation.arguments.limit
    if given is not None:
        return given or None
    return TERMINAL_ROWS if sys.stdout.isatty() and not invocation.json else None


def print_rows(
    headings: Sequence[str],
    entries: Sequence[T],
    row: Callable[[T], Sequence[object]],
    *,
    left_out: int = 0,
    nothing: str = "none",
    whole: bool = False,
) -> None:
    """Print a table of `entries`, and how many more there are.

    On a terminal the last column is cut to fit, unless the `whole` of it is what is wanted.
    """
    if not entries:
        print_line(nothing)
        return
    fits = sys.stdout.isatty() and not whole
    columns = shutil.get_terminal_size().columns if fits else None
    for line in table(headings, [row(entry) for entry in entries], columns=columns):
        sys.stdout.write(line + "\n")
    if left_out:
        sys.stdout.write(f"… and {left_out} more; --limit 0 lists all\n")


def print_fields(fields: Iterable[Sequence[object]], *, indent: str = "") -> None:
    """Print a name and what belongs to it, a line each; all of them as long."""
    rows = list(fields)
    headings = [""] * len(rows[0]) if rows else []
    for line in table(headings, rows):
        if line:
            sys.stdout.write(f"{indent}{line}\n")


def moment(at: datetime | None) -> str | None:
    """A time as tables show it: UTC, to the second."""
    return at.strftime("%Y-%m-%d %H:%M:%SZ") if at is not None else None


def place(address: Address | None) -> str | None:
    """A place as tables show it."""
    return show_place(address) if address is not None else None
