"""How each channel is doing: its connection, what it has heard, and what waits to be sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from .actors.deliveries import LaneSeen
from .channels.base import Channel
from .channels.line import LineState
from .channels.secret import redact
from .views import time_of

__all__ = ["ChannelStatus", "LaneStatus", "status_of"]

_MAX_LANES = 20
"""Places that a status names: those where the most waits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneStatus:
    """What waits to be sent to one place."""

    conversation: str
    thread: str | None
    waiting: int
    """How many deliveries."""
    delivery_id: str
    """The first of them."""
    next_try: datetime | None
    """When that is tried again; None while an attempt is under way."""
    reason: str | None
    """Why the last attempt at it failed; None if none has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelStatus:
    """One running channel instance."""

    name: str
    platform: str
    state: LineState
    since: datetime | None
    """Since when it is in that state; None if it has been since the start."""
    last_heard: datetime | None
    """When it last brought a turn; None if it has not since the start."""
    last_error: str | None
    """Why it was not connected the last time."""
    last_error_at: datetime | None
    next_try: datetime | None
    """When it connects again, if it does not stand and that is known."""
    breaks: int
    """How often the connection was lost, or could not be made."""
    warning: str | None
    """What is to be looked at although it works."""
    waiting: int
    """Deliveries that wait to be sent, in all lanes."""
    lanes: tuple[LaneStatus, ...]
    """The fullest lanes, the fullest first."""


def status_of(channel: Channel, lanes: Sequence[LaneSeen]) -> ChannelStatus:
    """How `channel` is doing, whose lanes are `lanes`; no secret is in it."""
    line = channel.line
    fullest = sorted(lanes, key=lambda lane: -lane.waiting)[:_MAX_LANES]
    return ChannelStatus(
        name=channel.name,
        platform=channel.platform,
        state=line.state,
        since=_moment(line.since_us),
        last_heard=_moment(line.heard_at_us),
        last_error=redact(line.error) or None,
        last_error_at=_moment(line.error_at_us),
        next_try=_moment(line.next_try_at_us),
        breaks=line.breaks,
        warning=redact(line.warning) or None,
        waiting=sum(lane.waiting for lane in lanes),
        lanes=tuple(
            LaneStatus(
                conversation=lane.address.conversation,
                thread=lane.address.thread,
                waiting=lane.waiting,
                delivery_id=lane.delivery_id,
                next_try=_moment(lane.next_try_at_us),
                reason=lane.reason,
            )
            for lane in fullest
        ),
    )


def _moment(at_us: int) -> datetime | None:
    return time_of(at_us) if at_us else None
