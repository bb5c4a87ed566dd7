"""Where a text holds what is not to be cut: code in a line, links, and addresses.

They are found as Markdown has them, as far as a cut is concerned: code between equal rows of
backticks in one paragraph, `[text](address "title")`, `![…](…)`, `<address>` and bare addresses in
ASCII. Taking something for one of them that is none moves a cut, and does no harm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, TypeAlias

__all__ = ["Place", "find_wholes"]

Place: TypeAlias = tuple[int, int]
"""From the first character to behind the last one."""

_BACKTICKS: Final = re.compile(r"(?<!\\)`+|\n[^\S\n]*\n")
"""A row of them, or the end of a paragraph."""
_BRACKETS: Final = re.compile(r"\\.|\[|\]\(?|\n[^\S\n]*\n")
_TARGET: Final = re.compile(
    r"""\( \s*+
    (?: <[^<>\n]*+> | (?: [^\s()\\<] | \\. | \( (?: [^\s()\\] | \\. )*+ \) )*+ )
    (?: \s++ (?: "[^"\n]{0,200}" | '[^'\n]{0,200}' | \([^()\n]{0,200}\) ) )?
    \s*+ \)""",
    re.VERBOSE,
)
"""What follows the text of a link. A title is short, so that looking for its end is."""
_ADDRESS: Final = re.compile(r"<?(?i:https?)://[!-;=?-Z\\-_a-~]++>?")
"""It ends at the latest where a link or code begins."""


def find_wholes(text: str, start: int, end: int) -> list[Place]:
    """The places between `start` and `end`, in order; none is in another.

    The time grows with the length of the text, whatever it is.
    """
    code = list(_codes(text, start, end))
    linked = _in_order(code, list(_links(text, start, end, code)))
    addresses = [found.span() for found in _ADDRESS.finditer(text, start, end)]
    return _in_order(linked, addresses)


def _codes(text: str, start: int, end: int) -> Iterator[Place]:
    rows = list(_BACKTICKS.finditer(text, start, end))
    partner: list[int | None] = [None] * len(rows)
    """Which row closes what each row opens."""
    nearest: dict[int, int] = {}
    for index in range(len(rows) - 1, -1, -1):
        if text[rows[index].start()] == "\n":
            nearest.clear()
            continue
        size = rows[index].end() - rows[index].start()
        partner[index] = nearest.get(size)
        nearest[size] = index
    index = 0
    while index < len(rows):
        closing = partner[index]
        if closing is not None:
            yield rows[index].start(), rows[closing].end()
            index = closing
        index += 1


def _links(text: str, start: int, end: int, code: list[Place]) -> Iterator[Place]:
    """Links, those in the text of others before these."""
    opened: list[int] = []
    codes = iter([*code, (end, end)])
    skipped = next(codes)
    at = start
    for found in _BRACKETS.finditer(text, start, end):
        while skipped[1] <= found.start():
            skipped = next(codes)
        if found.start() >= skipped[0] or found.start() < at:
            continue
        bracket = found[0]
        if bracket == "[":
            begin = found.start()
            opened.append(begin - 1 if begin > start and text[begin - 1] == "!" else begin)
        elif bracket[0] == "\n":
            opened.clear()
        elif bracket[0] == "]" and opened:
            begin = opened.pop()
            target = _TARGET.match(text, found.start() + 1, end) if bracket == "](" else None
            if target is not None:
                at = target.end()
                yield begin, at


def _in_order(places: list[Place], more: list[Place]) -> list[Place]:
    """Both in order, without what begins in another."""
    kept: list[Place] = []
    for begin, end in sorted((*places, *more), key=lambda place: (place[0], -place[1])):
        if not kept or begin >= kept[-1][1]:
            kept.append((begin, end))
    return kept
