"""When a session begins anew by itself: after it was idle, or each day at a set time.

Pure, but for the time zones, which are the machine's. It is decided when a human writes and never
in between, so that nothing happens to whoever stays away, and it is always announced.

Where the clocks of the zone change, a time of day that is left out is as much later as they were
put forward; of one that comes twice, the first counts.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from math import isfinite
from typing import Final, Literal, TypeAlias

from ..frozen import fact
from .intake import check_outgoing
from .schedule_text import EPOCH, BadSchedule, microseconds_of, zone_of

__all__ = ["BadReset", "ResetPolicy", "Why", "read_policy", "reset_due"]

Why: TypeAlias = Literal["policy idle", "policy daily"]
"""Who cleared a context, where nobody did; both: `policy idle`."""

_TIME: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_DAYS: Final = range(-2, 2)
"""Days around the one of now among whose set times the newest is found, wherever clocks change by
hours at midnight, or leave a day out."""
_MOST_S: Final = 1e10
"""Seconds, some 300 years: longer than anybody is away."""


class BadReset(ValueError):
    """No policy can be read there; `key` names in the configuration what is wrong, the text why."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


@fact
class ResetPolicy:
    """When sessions begin anew, and what is said then."""

    notice: str
    after_idle_us: int = 0
    """0 for never."""
    daily_at: time | None = None
    zone: tzinfo = UTC


def read_policy(after_idle_s: float, daily_at: str, zone: str, notice: str) -> ResetPolicy | None:
    """The policy that somebody wrote; None if no session ever begins anew by itself.

    Args:
        after_idle_s: seconds without a turn; 0 for never.
        daily_at: a time of day such as `04:00`; empty for never.
        zone: IANA name of the time zone in which that is meant.
        notice: what is said.

    Raises:
        BadReset: one of them makes no sense, even if it is not needed.
    """
    if not (isfinite(after_idle_s) and 0 <= after_idle_s <= _MOST_S):
        text = f"must be a number of seconds, 0 or more, not {after_idle_s}"
        raise BadReset("reset_after_idle_s", text)
    at = _TIME.fullmatch(daily_at)
    if daily_at and at is None:
        text = f"must be a time of day like '04:00', or empty for never, not {daily_at!r:.80}"
        raise BadReset("reset_daily_at", text)
    try:
        where = zone_of(zone)
    except BadSchedule as error:
        raise BadReset("reset_zone", f"is none: {error}") from error
    try:
        check_outgoing(notice)
    except ValueError as error:
        text = f"is always said, and cannot be: {error}"
        raise BadReset("reset_notice", text) from error
    if not after_idle_s and at is None:
        return None
    return ResetPolicy(
        notice,
        int(after_idle_s * 1_000_000),
        time(int(at[1]), int(at[2])) if at is not None else None,
        where,
    )


def reset_due(policy: ResetPolicy, last_us: int, now_us: int) -> Why | None:
    """Why a session in which a turn was last accepted or ended at `last_us` begins anew now.

    None if it does not, as one in which there has been no turn yet, whose `last_us` is 0.
    """
    if not last_us:
        return None
    if policy.after_idle_us and now_us - last_us >= policy.after_idle_us:
        return "policy idle"
    if policy.daily_at is not None and last_us < _newest(policy.daily_at, policy.zone, now_us):
        return "policy daily"
    return None


def _newest(daily_at: time, zone: tzinfo, now_us: int) -> int:
    """The newest moment of that time of day which is not after `now_us`."""
    today = (EPOCH + timedelta(microseconds=now_us)).astimezone(zone).date()
    moments = [_moment(today + timedelta(days), daily_at, zone) for days in _DAYS]
    return max(moment for moment in moments if moment <= now_us)


def _moment(day: date, daily_at: time, zone: tzinfo) -> int:
    # With fold=0, a time that is left out has the offset from before, and so is later by the gap;
    # and one that comes twice is the first.
    return microseconds_of(datetime.combine(day, daily_at, zone))
