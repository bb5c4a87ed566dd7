"""When a mission is due: its schedule as it is written, and the ticks that follow from it.

Pure; every moment is in integer microseconds since the epoch, UTC. A schedule is one of

* five cron fields: `0 9 * * mon-fri`, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`;
* a period: `every 15m`, `every 1h30m`, with the units w, d, h, m and s;
* one moment: `at 2026-12-01T09:00`, or with an offset of its own, `at 2026-12-01T09:00+01:00`.

Cron fields and moments without an offset are in the time zone of the schedule. Where its clocks
change:

* Cron follows Debian. A job whose minute and hour fields both begin with no `*` runs at fixed
  times of day: what would fall into the hour that is left out runs once, at the first moment after
  it; in the hour that comes twice it runs the first time only. Any other job goes by the clock on
  the wall: the hour that is left out has no ticks, and in the hour that comes twice it runs twice.
* `at` a time that is left out is as much later as the clocks were put forward; a time that comes
  twice is the first of the two.
* `every` counts seconds that pass. `every 1d` is every 86,400 s, and so at another time of day
  after the change.

The days of cron are Debian's as well: if neither day field begins with a `*`, a day needs to fit
one of them only.
"""

from __future__ import annotations

from datetime import timedelta
from hashlib import blake2b
from typing import Final, Literal, TypeAlias

from cronsim import CronSim

from ..frozen import fact
from .schedule_text import (
    EPOCH,
    MIN_PERIOD_S,
    BadSchedule,
    Cron,
    Every,
    Once,
    clean_text,
    microseconds_of,
    plan_of,
    zone_of,
)

__all__ = [
    "END_US",
    "GRACE_US",
    "BadSchedule",
    "Due",
    "Missed",
    "Schedule",
    "catch_up",
    "jitter_us",
    "next_tick",
    "read_schedule",
]

Missed: TypeAlias = Literal["skip", "run_once"]
"""What becomes of ticks that nobody was there to run: nothing, or one run for all of them."""

GRACE_US: Final = 60_000_000
"""How late a tick runs as if nothing had been: whoever watches the clock was busy, not away."""
END_US: Final = 32_503_680_000_000_000
"""The year 3000: nothing is due from then on, nor before 1970."""

_LEAST_GAP_US: Final = MIN_PERIOD_S * 1_000_000
"""Between two ticks of a schedule: cron has whole minutes."""


@fact
class Schedule:
    """When something is due, as `read_schedule` has read it and as it can be kept."""

    text: str
    """As it was written, with single spaces."""
    zone: str
    """IANA name of the time zone in which the text is meant."""
    anchor_us: int
    """When it was read: the moment from which `every` counts."""


@fact
class Due:
    """What a scheduler is to do about a tick that is due."""

    run_us: int | None
    """The tick that is to run now; None: none."""
    next_us: int | None
    """The tick to wait for; None: there are no more."""


def read_schedule(text: str, zone: str, now_us: int) -> Schedule:
    """The schedule that somebody wrote; it is due at least once.

    Args:
        text: see the head of this module.
        zone: IANA name of the time zone in which it is meant.
        now_us: the time.

    Raises:
        BadSchedule: it says nothing that can be understood, the zone is unknown, or it is never
            due after `now_us`.
    """
    schedule = Schedule(clean_text(text), zone, now_us)
    if next_tick(schedule, now_us) is None:
        raise BadSchedule(_why_never(schedule, now_us))
    return schedule


def next_tick(schedule: Schedule, after_us: int) -> int | None:
    """The first tick after `after_us`, and not at it; None if there is none any more.

    What cron does not find within 50 years counts as never.

    Raises:
        BadSchedule: the schedule is not as `read_schedule` gives it, or the time zones of this
            machine no longer have its own.
    """
    plan = plan_of(schedule.text, schedule.zone)
    after_us = max(after_us, -1)
    tick_us: int | None
    match plan:
        case _ if after_us >= END_US:
            return None
        case Every(period_us):
            periods = max((after_us - schedule.anchor_us) // period_us, 0) + 1
            tick_us = schedule.anchor_us + periods * period_us
        case Once(at_us):
            tick_us = at_us if at_us > after_us else None
        case Cron():
            tick_us = _cron_tick(plan, after_us)
    return tick_us if tick_us is not None and tick_us < END_US else None


def catch_up(
    schedule: Schedule, due_us: int, now_us: int, missed: Missed, grace_us: int = GRACE_US
) -> Due:
    """What to run now that the tick at `due_us` is due, and what to wait for.

    Within the grace that tick runs. Later, it depends on `missed`: with `skip` nothing runs, with
    `run_once` the newest tick of all that were missed. In each case the next one is after now: a
    mission never runs several times on end to make up for what it missed.

    Args:
        schedule: whose tick it is.
        due_us: the tick; not after `now_us`.
        now_us: the time.
        missed: what becomes of ticks that are too late.
        grace_us: how late is not too late. A mission that is put off by a jitter adds that.

    Raises:
        BadSchedule: as `next_tick` does.
        ValueError: it is not due yet.
    """
    if due_us > now_us:
        raise ValueError(f"{due_us} is not due at {now_us}")
    next_us = next_tick(schedule, now_us)
    if now_us - due_us <= grace_us:
        return Due(due_us, next_us)
    if missed == "skip":
        return Due(None, next_us)
    return Due(_newest_tick(schedule, due_us, now_us), next_us)


def jitter_us(due_us: int, jitter_s: float, name: str) -> int:
    """By how much, from 0 to less than `jitter_s` seconds, the tick at `due_us` is put off.

    In microseconds. It looks random, differs from mission to mission and from tick to tick, and is
    the same after a restart.

    Args:
        due_us: the tick.
        jitter_s: the bound; nothing is put off by none.
        name: of the mission.
    """
    span_us = int(jitter_s * 1_000_000)
    if span_us <= 0:
        return 0
    # `ascii` tells apart all that differs, and encodes whatever the name holds.
    digest = blake2b(ascii((name, due_us)).encode("ascii"), digest_size=16).digest()
    return int.from_bytes(digest, "big") % span_us


def _newest_tick(schedule: Schedule, due_us: int, now_us: int) -> int:
    """The last tick up to `now_us`, where `due_us` is one: some forty steps for ten years.

    Halving needs nothing but `next_tick`, so that what ran and what is next can never disagree;
    and most often the very next tick is the last one already.
    """
    newest_us, bound_us = due_us, now_us
    while bound_us - newest_us >= _LEAST_GAP_US:
        follower_us = next_tick(schedule, newest_us)
        if follower_us is None or follower_us > now_us:
            break
        newest_us = follower_us
        middle_us = (newest_us + bound_us) // 2
        later_us = next_tick(schedule, middle_us)
        if later_us is not None and later_us <= now_us:
            newest_us = later_us
        else:
            bound_us = middle_us
    return newest_us


def _cron_tick(plan: Cron, after_us: int) -> int | None:
    after = (EPOCH + timedelta(microseconds=after_us)).astimezone(plan.zone)
    # In the second of two equal hours, jobs at fixed times find the ticks of the first again.
    for tick in CronSim(plan.expression, after):
        tick_us = microseconds_of(tick)
        if tick_us > after_us:
            return tick_us
    return None


def _why_never(schedule: Schedule, now_us: int) -> str:
    plan = plan_of(schedule.text, schedule.zone)
    if now_us < END_US and isinstance(plan, Once) and plan.at_us <= now_us:
        now = EPOCH + timedelta(seconds=now_us // 1_000_000)
        return f"{schedule.text!r} is over: it is {now.astimezone(zone_of(schedule.zone))} now"
    if now_us < END_US and isinstance(plan, Cron):
        return f"{schedule.text!r} never happens: no day of the next 50 years is such a day"
    return f"{schedule.text!r} is never due: nothing is, from the year 3000 on"
