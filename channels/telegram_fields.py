"""What Telegram's JSON has beside objects, lists and texts: numbers, flags, pieces of text."""

from __future__ import annotations

from typing import Final

from .json_fields import Fields, Malformed

__all__ = ["flag", "number", "units"]

_LARGEST: Final = 2**63


def number(of: Fields, name: str) -> int:
    """An integer of at most 64 bits.

    Raises:
        Malformed: it is missing, or something else.
    """
    value: object = of.get(name)
    if type(value) is not int or not -_LARGEST < value < _LARGEST:
        raise Malformed(f"{name} is no integer")
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
