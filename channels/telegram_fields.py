"""Fields of what Telegram sends: each of its documented type, or the update is malformed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias, cast

__all__ = [
    "Fields",
    "Malformed",
    "chosen",
    "fields",
    "flag",
    "items",
    "listed",
    "number",
    "text",
    "units",
]

Fields: TypeAlias = Mapping[str, Any]

_LARGEST: Final = 2**63


class Malformed(ValueError):
    """An update is not as documented. The text names the field and quotes nothing."""


def fields(value: object, name: str) -> Fields:
    """An object.

    Raises:
        Malformed: it is none.
    """
    if not isinstance(value, dict):
        raise Malformed(f"{name} is no object")
    return cast("Fields", value)


def chosen(of: Fields, name: str) -> Fields | None:
    """An object that may be missing.

    Raises:
        Malformed: it is there, and something else.
    """
    value: object = of.get(name)
    return None if value is None else fields(value, name)


def listed(value: object, name: str) -> list[object]:
    """A list.

    Raises:
        Malformed: it is none.
    """
    if not isinstance(value, list):
        raise Malformed(f"{name} is no list")
    return cast("list[object]", value)


def items(of: Fields, name: str) -> list[object]:
    """A list; an empty one if it is missing.

    Raises:
        Malformed: it is there, and no list.
    """
    value = of.get(name)
    if value is None:
        return []
    return listed(value, name)


def number(of: Fields, name: str) -> int:
    """An integer of at most 64 bits.

    Raises:
        Malformed: it is missing, or something else.
    """
    value: object = of.get(name)
    if type(value) is not int or not -_LARGEST < value < _LARGEST:
        raise Malformed(f"{name} is no integer")
    return value


def text(of: Fields, name: str) -> str | None:
    """A text that may be missing.

    Raises:
        Malformed: it is there, and something else.
    """
    value: object = of.get(name)
    if value is not None and not isinstance(value, str):
        raise Malformed(f"{name} is no text")
    return value


def flag(of: Fields, name: str) -> bool:
    """Whether it is there and true."""
    return of.get(name) is True


def units(whole: str, offset: int, length: int) -> tuple[str, str]:
    """A piece of a text, and what follows it, as entities count: in UTF-16 code units.

    Half of a character counts as none. Source: "MessageEntity" of the Bot API.
    """
    raw = whole.encode("utf-16-le", "surrogatepass")
    end = 2 * (offset + length)
    return (
        raw[2 * offset : end].decode("utf-16-le", "ignore"),
        raw[end:].decode("utf-16-le", "ignore"),
    )
