"""JSON of strangers: what two readers could understand differently is refused."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn, cast

__all__ = ["MAX_DEPTH", "BadJson", "parse_json"]

MAX_DEPTH: Final = 64
"""Arrays and objects within each other; platforms need a dozen."""

_LARGEST_INT: Final = 2**63
_MAX_DIGITS: Final = 400
"""Digits of one number. Reading an integer takes the square of its length."""
_NO_BRACKETS: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[^\[\]{}"]+', re.DOTALL)
"""Whole strings, and whatever stands between brackets."""


class BadJson(ValueError):
    """What came is not JSON that everybody reads alike."""


def parse_json(raw: bytes, max_depth: int = MAX_DEPTH) -> Any:
    """Read JSON.

    Raises:
        BadJson: it is no UTF-8, no JSON, too deep, has a key twice, a lone surrogate, a number that
            is not finite or an integer outside of -2**63 … 2**63 - 1. The text quotes nothing.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadJson(f"no UTF-8 at byte {error.start}") from None
    _check_depth(text, max_depth)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as error:
        raise BadJson(f"no JSON at character {error.pos}: {error.msg}") from None
    # A surrogate can only come from an escape: as a character it would be no UTF-8.
    if "\\u" in text:
        _check_surrogates(value)
    return value


def _check_depth(text: str, max_depth: int) -> None:
    """Count brackets before the reader recurses, which the interpreter's stack would end."""
    depth = 0
    for bracket in _NO_BRACKETS.sub("", text):
        if bracket in "[{":
            depth += 1
            if depth > max_depth:
                raise BadJson(f"deeper than {max_depth}")
        else:
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise BadJson("a key comes twice in one object")
    return value


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS or not -_LARGEST_INT <= (number := int(digits)) < _LARGEST_INT:
        raise BadJson("an integer is out of range")
    return number


def _number(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise BadJson("a number is out of range")
    return number


def _constant(name: str) -> NoReturn:
    raise BadJson(f"{name} is no JSON")


def _check_surrogates(value: object) -> None:
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, str):
            try:
                one.encode("utf-8")
            except UnicodeEncodeError:
                raise BadJson("half of a surrogate pair stands alone") from None
        elif isinstance(one, dict):
            for member in cast("dict[str, object]", one).items():
                pending += member
        elif isinstance(one, list):
            pending += cast("list[object]", one)
