"""Ids and times as Slack writes them; anything else is malformed. Pure."""

from __future__ import annotations

import re
from decimal import ROUND_FLOOR, Decimal
from typing import Final

from .json_fields import Fields, Malformed, text

__all__ = ["is_id", "is_stamp", "named", "seconds_of", "stamp", "stamp_at"]

_ID: Final = re.compile(r"[A-Z0-9]{1,64}")
_STAMP: Final = re.compile(r"[0-9]{1,16}\.[0-9]{1,9}")
_MICROSECOND: Final = Decimal("0.000001")


def is_id(value: str) -> bool:
    """Whether it can be the id of a user, a channel, a file."""
    return _ID.fullmatch(value) is not None


def is_stamp(value: str) -> bool:
    """Whether it can be the time by which Slack names a message."""
    return _STAMP.fullmatch(value) is not None


def named(of: Fields, name: str) -> str:
    """An id: of a user, a channel, a file.

    Raises:
        Malformed: it is missing, or none.
    """
    value = text(of, name)
    if value is None or not is_id(value):
        raise Malformed(f"{name} is no id")
    return value


def stamp(of: Fields, name: str) -> str:
    """A time by which Slack names a message, unique in its channel.

    Raises:
        Malformed: it is missing, or none.
    """
    value = text(of, name)
    if value is None or not is_stamp(value):
        raise Malformed(f"{name} is no time of a message")
    return value


def seconds_of(value: str) -> Decimal:
    """A time by which Slack names a message, in seconds since 1970: exact, to compare it."""
    return Decimal(value)


def stamp_at(seconds: Decimal) -> str:
    """A time as Slack writes it, to the microsecond before; never one before 1970."""
    return f"{max(seconds, Decimal()).quantize(_MICROSECOND, ROUND_FLOOR):f}"
