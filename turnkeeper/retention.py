"""Which sessions are old enough to go, and what keeps others from going. Reads only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from .actors.core.head import Head
from .actors.deletion import led_to
from .actors.frozen import message
from .storage.base import Reads
from .views import heads, time_of

__all__ = ["BadAge", "Candidate", "candidates", "cutoff_us"]

_AGE: Final = re.compile(r"([0-9]{1,9})([smhdw])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class BadAge(ValueError):
    """The text is no age, and no time."""


@message
class Candidate:
    """A session in which nobody has been active for long enough."""

    id: str
    number: int
    last_active: datetime
    """When a human last wrote in it, or a mission last ran."""
    records: int
    kept: str | None
    """Why it stays nevertheless; None if nothing keeps it."""


def cutoff_us(text: str, now_us: int) -> int:
    """The time that `text` means, in microseconds since the Unix epoch.

    That is an age, like `90d`, `12h` or `2w`, or a time, like `2026-05-01` or
    `2026-05-01T12:00+02:00`; without a zone it is UTC.

    Raises:
        BadAge: it is neither, or not in the past.
    """
    if age := _AGE.fullmatch(text):
        passed_s = int(age[1]) * _SECONDS[age[2]]
        if not passed_s:
            raise BadAge(f"{text!r} is no age: it must be more than nothing")
        return max(now_us - passed_s * 1_000_000, 0)
    try:
        at = datetime.fromisoformat(text)
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        at_us = int(at.timestamp() * 1e6)
    except (ValueError, OverflowError) as error:
        raise BadAge(
            f"{text!r:.80} is neither an age, like 90d, 12h, 30m or 2w, nor a time, like 2026-05-01"
        ) from error
    if at_us > now_us:
        raise BadAge(f"{text!r} lies in the future")
    return max(at_us, 0)


def candidates(store: Reads, before_us: int) -> Iterator[Candidate]:
    """Every session in which nobody was active since a time, in the order of their numbers.

    None in which a turn or a message is open.
    """
    leading = led_to(store)
    for number, head in heads(store):
        if head.open_turns or head.open_deliveries or _last_us(head) >= before_us:
            continue
        yield Candidate(
            id=head.session_id,
            number=number,
            last_active=time_of(_last_us(head)),
            records=head.next_seq - 1,
            kept=leading.get(head.session_id),
        )


def _last_us(head: Head) -> int:
    return max(head.last_active_us, head.last_turn_us, head.opened_at_us)
