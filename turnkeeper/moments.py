"""Points in time as they are typed: `2026-11-21T09:30`, or `2h` ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["parse_moment"]

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO: Final = re.compile(r"(\d{1,9})([smhdw])(?: ago)?", re.ASCII)


def parse_moment(text: str, now: datetime) -> datetime:
    """The moment that `text` names: ISO 8601, UTC where it names no zone; or how long before `now`.

    Raises:
        ValueError: it names none; the text says what would.
    """
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago is not None:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        at = datetime.fromisoformat(text.strip())
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{text!a} is no time: 2026-11-21T09:30 is one (UTC unless it names a zone), and so is "
            "2h, two hours ago"
        ) from error
    return at
