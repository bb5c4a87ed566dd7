"""Fields of JSON that strangers send: of the type that was agreed, or malformed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

__all__ = [
    "Fields",
    "Malformed",
    "chosen",
    "degrees",
    "fields",
    "flag",
    "items",
    "length",
    "listed",
    "needed",
    "number",
    "text",
]

_LARGEST: Final = 2**63

Fields: TypeAlias = Mapping[str, Any]


class Malformed(ValueError):
    """Something is not as agreed. The text names the field and quotes nothing."""


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


def items(of: Fields, name: str) -> Sequence[object]:
    """What is in a list, which may be missing.

    Raises:
        Malformed: it is there, and no list.
    """
    value: object = of.get(name)
    return () if value is None else listed(value, name)


def text(of: Fields, name: str) -> str | None:
    """A text that may be missing.

    Raises:
        Malformed: it is there, and something else.
    """
    value: object = of.get(name)
    if value is not None and not isinstance(value, str):
        raise Malformed(f"{name} is no text")
    return value


def needed(of: Fields, name: str) -> str:
    """A text that is there, and not empty.

    Raises:
        Malformed: it is not.
    """
    value = text(of, name)
    if not value:
        raise Malformed(f"{name} is missing")
    return value


def number(of: Fields, name: str) -> int:
    """An integer of at most 64 bits.

    Raises:
        Malformed: it is missing, or something else.
    """
    value: object = of.get(name)
    if type(value) is not int or not -_LARGEST < value < _LARGEST:
        raise Malformed(f"{name} is no integer")
    return value


def length(of: Fields, name: str) -> int | None:
    """A length in bytes that may be missing.

    Raises:
        Malformed: it is there, and something else, or negative.
    """
    if of.get(name) is None:
        return None
    value = number(of, name)
    if value < 0:
        raise Malformed(f"{name} is negative")
    return value


def flag(of: Fields, name: str) -> bool:
    """Whether it is there and true."""
    return of.get(name) is True


def degrees(of: Fields, name: str) -> float:
    """A latitude or a longitude.

    Raises:
        Malformed: it is missing, or no number.
    """
    value: object = of.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Malformed(f"{name} is no number")
    return value
