"""The arguments of a request that came through the control socket, each of which is checked.

All of them raise RequestFailed, of the kind `bad_request`, where there is something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from .control import RequestFailed

__all__ = [
    "given_flag",
    "given_number_or_none",
    "given_pairs",
    "given_seconds",
    "given_text",
    "given_text_or_none",
    "given_texts",
]

_MOST_SECONDS: Final = 1e12
"""Longer than anything lasts, and finite."""


def given_text(request: Mapping[str, Any], name: str) -> str:
    """A text."""
    value = request.get(name)
    if not isinstance(value, str):
        raise RequestFailed("bad_request", f"{name} must be a text")
    return value


def given_texts(request: Mapping[str, Any], *names: str) -> list[str]:
    """Several texts, in the order of their names."""
    return [given_text(request, name) for name in names]


def given_text_or_none(request: Mapping[str, Any], name: str) -> str | None:
    """A text; None where there is none."""
    return given_text(request, name) if request.get(name) is not None else None


def given_number_or_none(request: Mapping[str, Any], name: str) -> int | None:
    """A whole number; None where there is none."""
    value = request.get(name)
    if value is not None and type(value) is not int:
        raise RequestFailed("bad_request", f"{name} must be a whole number")
    return value


def given_pairs(request: Mapping[str, Any], name: str) -> list[tuple[str, int]]:
    """Texts, each with a whole number."""
    found: list[tuple[str, int]] = []
    given = request.get(name)
    for pair in cast("list[object]", given) if isinstance(given, list) else [given]:
        match pair:
            case [str(text), int(number)] if type(number) is int:
                found.append((text, number))
            case _:
                raise RequestFailed("bad_request", f"{name} must be texts with whole numbers")
    return found


def given_seconds(request: Mapping[str, Any], name: str) -> float:
    """A span of time; 0 where there is none."""
    value = request.get(name, 0)
    if type(value) not in (int, float) or not 0 <= value <= _MOST_SECONDS:
        raise RequestFailed("bad_request", f"{name} must be a number of seconds, 0 or more")
    return float(value)


def given_flag(request: Mapping[str, Any], name: str) -> bool:
    """Whether something is so; it is not where nothing is said."""
    value = request.get(name, False)
    if not isinstance(value, bool):
        raise RequestFailed("bad_request", f"{name} must be true or false")
    return value
