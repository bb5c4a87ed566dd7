"""JSON of a homeserver, which holds what strangers have sent: one bad event must not hide the rest.

A strict reader would refuse a whole answer for one number that is too long, and it would be asked
for again for ever: whoever can write into a room could stop the agent in all of them. So what
cannot be kept becomes `null` where it stands. Pure.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

__all__ = ["MAX_DEPTH", "read_answer"]

MAX_DEPTH: Final = 64
"""Arrays and objects within each other; what lies deeper becomes `null`. An event's content begins
at 8, and what this channel reads of it ends at 12."""
_LARGEST_INT: Final = 2**63
_MAX_DIGITS: Final = 400
"""Digits of one number. Reading an integer takes the square of its length."""
_STRING_OR_BRACKET: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


def read_answer(raw: bytes) -> Any:
    """Read JSON, and leave out what could not be kept.

    Raises:
        ValueError: it is no JSON. The text quotes nothing.
    """
    text = _pruned(raw.decode("utf-8", "replace"))
    try:
        return json.loads(text, parse_int=_integer, parse_constant=lambda _: None)
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON at character {error.pos}: {error.msg}") from None


def _pruned(text: str) -> str:
    """The text with `null` for what lies too deep, which would end the reader's stack."""
    kept: list[str] = []
    depth = begin = 0
    for token in _STRING_OR_BRACKET.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth == MAX_DEPTH + 1:
                kept += (text[begin : token.start()], "null")
        elif token[0] in "]}":
            if depth == MAX_DEPTH + 1:
                begin = token.end()
            depth -= 1
    if depth > MAX_DEPTH:
        return "".join(kept)  # it ends in the middle, and is no JSON
    return "".join((*kept, text[begin:]))


def _integer(digits: str) -> int | None:
    if len(digits) > _MAX_DIGITS or not -_LARGEST_INT <= (number := int(digits)) < _LARGEST_INT:
        return None
    return number
