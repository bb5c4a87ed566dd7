"""Which sessions are old enough to go, and what keeps others from going. Reads only."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from .actors.core.head import Head
from .actors.deletion import led_to
from .actors.frozen import message
from .moments import parse_moment
from .storage.base import Reads
from .views import heads, time_of

__all__ = ["BadAge", "Candidate", "candidates", "cutoff_us"]


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
    now = time_of(now_us)
    try:
        at = parse_moment(text, now)
    except ValueError as error:
        raise BadAge(
            f"{text!r:.80} is neither an age, like 90d, 12h, 30m or 2w, nor a time, like 2026-05-01"
        ) from error
    if at == now:
        raise BadAge(f"{text!r} is no age: it must be more than nothing")
    if at > now:
        raise BadAge(f"{text!r} lies in the future")
    return max(int(at.timestamp() * 1e6), 0)


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
