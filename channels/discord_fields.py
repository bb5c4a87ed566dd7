"""Fields of what Discord sends: each of its documented type, or it is malformed. Pure.

Source: https://docs.discord.com/developers/reference, "Snowflakes".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias, cast

__all__ = [
    "Fields",
    "Malformed",
    "chosen",
    "fields",
    "flag",
    "is_snowflake",
    "items",
    "number",
    "snowflake",
    "snowflake_at",
    "text",
    "time_of",
]

Fields: TypeAlias = Mapping[str, Any]

_SNOWFLAKE: Final = re.compile(r"[0-9]{1,19}")
_EPOCH_MS: Final = 1_420_070_400_000
"""The first millisecond of 2015, from which snowflakes count."""


class Malformed(ValueError):
    """Something is not as documented. The text names the field and quotes nothing."""


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


def items(of: Fields, name: str) -> list[object]:
    """A list; an empty one if it is missing.

    Raises:
        Malformed: it is there, and no list.
    """
    value: object = of.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise Malformed(f"{name} is no list")
    return cast("list[object]", value)


def is_snowflake(value: object) -> bool:
    """Whether it can be an id: a text of up to 19 digits."""
    return isinstance(value, str) and _SNOWFLAKE.fullmatch(value) is not None


def snowflake(of: Fields, name: str) -> str:
    """An id.

    Raises:
        Malformed: it is missing, or something else.
    """
    value: object = of.get(name)
    if not isinstance(value, str) or not is_snowflake(value):
        raise Malformed(f"{name} is no snowflake")
    return value


def number(of: Fields, name: str) -> int:
    """An integer.

    Raises:
        Malformed: it is missing, or something else.
    """
    value: object = of.get(name)
    if type(value) is not int:
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


def time_of(snowflake_id: str) -> float:
    """When something with this id was made, in seconds since the Unix epoch."""
    return ((int(snowflake_id) >> 22) + _EPOCH_MS) / 1000


def snowflake_at(time_s: float) -> str:
    """The least id of what was made at a time, in seconds since the Unix epoch."""
    return str(max(0, int(time_s * 1000) - _EPOCH_MS) << 22)
