"""Ids as Discord makes them; anything else is malformed. Pure.

Source: https://docs.discord.com/developers/reference, "Snowflakes".
"""

from __future__ import annotations

import re
from typing import Final

from .json_fields import Fields, Malformed

__all__ = ["is_snowflake", "snowflake", "snowflake_at", "time_of"]

_SNOWFLAKE: Final = re.compile(r"[0-9]{1,19}")
_EPOCH_MS: Final = 1_420_070_400_000
"""The first millisecond of 2015, from which snowflakes count."""


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


def snowflake_at(time_s: float) -> str:
    """The least id of what was made at a time, in seconds since the Unix epoch."""
    return str(max(0, int(time_s * 1000) - _EPOCH_MS) << 22)


def time_of(snowflake_id: str) -> float:
    """When something with this id was made, in seconds since the Unix epoch."""
    return ((int(snowflake_id) >> 22) + _EPOCH_MS) / 1000
