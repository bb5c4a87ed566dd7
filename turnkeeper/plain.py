r"""What is shown, as JSON: dataclasses become objects, times ISO 8601 in UTC.

The text is ASCII: lone surrogates, escape sequences and direction marks are written as `\uXXXX`,
so that it can be printed, piped and read back anywhere.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

__all__ = ["iso", "to_json"]


def iso(at: datetime) -> str:
    """`at` as `2026-11-21T09:30:00.000000Z`."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def to_json(value: object, *, indent: int | None = None) -> str:
    """`value`, made of dataclasses, times, tuples and what JSON has itself, as JSON.

    Raises:
        TypeError: it holds something else.
    """
    return json.dumps(value, default=_plain, indent=indent)


def _plain(value: object) -> Any:
    if isinstance(value, datetime):
        return iso(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    raise TypeError(f"{type(value).__name__} has no JSON form")
