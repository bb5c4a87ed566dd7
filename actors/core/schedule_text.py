"""What a schedule says, read from its text: a period, a moment or a cron expression.

Pure, but for the time zones, which are the machine's; `schedule` tells what the three mean.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from functools import lru_cache
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from ..frozen import fact

__all__ = [
    "EPOCH",
    "MAX_PERIOD_S",
    "MAX_SCHEDULE_CHARS",
    "MAX_ZONE_CHARS",
    "MIN_PERIOD_S",
    "BadSchedule",
    "Cron",
    "Every",
    "Once",
    "Plan",
    "clean_text",
    "microseconds_of",
    "plan_of",
    "zone_of",
]

MAX_SCHEDULE_CHARS: Final = 200
"""Longest text of a schedule."""
MAX_ZONE_CHARS: Final = 64
"""Longest name of a time zone."""
MIN_PERIOD_S: Final = 1
"""Shortest period of `every`."""
MAX_PERIOD_S: Final = 3_650 * 86_400
"""Longest period of `every`: some ten years."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""The moment from which all others are counted."""

_MICROSECOND: Final = timedelta(microseconds=1)
_FORMS: Final = "'0 9 * * mon-fri' (cron), '@daily', 'every 15m' or 'at 2026-12-01T09:00'"
_SHORTHANDS: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
_FIELDS: Final = (
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of the month", "1-31, L (the last day) or LW (the last weekday)"),
    ("month", "1-12 or jan-dec"),
    ("day of the week", "0-7 or sun-sat (0 and 7 are Sunday), 5L (the last Friday) or fri#2"),
)
_PERIOD: Final = re.compile(
    r"(?:([0-9]{1,9})w)?(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?"
)
_UNITS_S: Final = (604_800, 86_400, 3_600, 60, 1)
"""Seconds of the units, in the order in which a period names them."""
_MOMENT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ](?:[01][0-9]|2[0-3]):[0-9]{2}(?::[0-9]{2})?"
    r"(?:Z|[+-][0-9]{2}:[0-9]{2})?"
)
_CLOSE: Final = 0.87
"""How alike names are, of 1, when one is taken for the other: a letter of nine may be wrong. `CEST`
is not taken for `EST`."""
_ZONE_NAME: Final = re.compile(r"[A-Z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*")
"""What is lower case beside the zones is none of them: `localtime`, `right/…`, `zone.tab`."""


class BadSchedule(ValueError):
    """No schedule can be read there; the text says what is wrong, and what would be right."""


@fact
class Every:
    """Again and again, counted from an anchor."""

    period_us: int


@fact
class Once:
    """At one moment."""

    at_us: int


@fact
class Cron:
    """By the clock on the wall of a time zone."""

    expression: str
    """Five fields that `CronSim` takes."""
    zone: tzinfo


Plan: TypeAlias = Every | Once | Cron
"""What a schedule says."""


def microseconds_of(moment: datetime) -> int:
    """A moment that knows its zone, in microseconds since the epoch."""
    return (moment - EPOCH) // _MICROSECOND


def clean_text(text: str) -> str:
    """The text with single spaces between its words.

    Raises:
        BadSchedule: it is too long, or has other characters than printable ASCII.
    """
    if len(text) > MAX_SCHEDULE_CHARS:
        raise BadSchedule(
            f"a schedule has at most {MAX_SCHEDULE_CHARS} characters, not {len(text)}"
        )
    if not (text.isascii() and text.isprintable()):
        raise BadSchedule(f"a schedule is written in printable ASCII characters: {text!r:.80}")
    return " ".join(text.split())


@lru_cache(maxsize=4_096)
def plan_of(text: str, zone: str) -> Plan:
    """What a text says that `clean_text` has cleaned.

    Raises:
        BadSchedule: nothing that can be understood, or that can happen; or the zone is unknown.
    """
    where = zone_of(zone)
    word, _, rest = text.partition(" ")
    match word.lower():
        case "every":
            return _read_period(text, rest.replace(" ", ""))
        case "at":
            return _read_moment(text, rest, where)
        case _:
            return _read_cron(text, where)


def _read_period(text: str, period: str) -> Every:
    found = _PERIOD.fullmatch(period)
    if found is None or not period:
        raise BadSchedule(
            f"{text!r} names no period: it is written as in 'every 15m' or 'every 1h30m', with "
            "whole numbers of w, d, h, m and s, the longer unit first"
        )
    seconds = sum(
        int(count) * unit_s for count, unit_s in zip(found.groups("0"), _UNITS_S, strict=True)
    )
    if not MIN_PERIOD_S <= seconds <= MAX_PERIOD_S:
        raise BadSchedule(
            f"{text!r}: a period has from {MIN_PERIOD_S} second to {MAX_PERIOD_S // 86_400:,} "
            f"days, not {seconds:,} seconds"
        )
    return Every(seconds * 1_000_000)


def _read_moment(text: str, moment: str, zone: tzinfo) -> Once:
    try:
        if _MOMENT.fullmatch(moment.upper()) is None:
            raise ValueError(
                "it is written as in 'at 2026-12-01T09:00', and '+01:00' or 'Z' may follow"
            )
        at = datetime.fromisoformat(moment.upper())
    except ValueError as error:
        raise BadSchedule(f"{text!r} names no moment: {error}") from None
    # With fold=0, a time that is left out has the offset from before, and so is later by the gap;
    # and one that comes twice is the first.
    return Once(microseconds_of(at if at.tzinfo is not None else at.replace(tzinfo=zone)))


def _read_cron(text: str, zone: tzinfo) -> Cron:
    expression = _SHORTHANDS.get(text.lower(), text)
    fields = expression.split(" ")
    if text.startswith("@") and expression is text:
        raise BadSchedule(f"there is no {text!r:.80}; there are {', '.join(_SHORTHANDS)}")
    if len(fields) in (6, 7):
        raise BadSchedule(
            f"{text!r} has {len(fields)} fields, and cron has five: minute, hour, day of the "
            "month, month, day of the week; there are no seconds or years, but 'every 30s'"
        )
    if len(fields) != len(_FIELDS):
        raise BadSchedule(f"{text!r:.80} is no schedule; it is written as in {_FORMS}")
    for position, (name, takes) in enumerate(_FIELDS):
        alone = ["*"] * len(_FIELDS)
        alone[position] = fields[position]
        if not _is_cron(" ".join(alone)):
            raise BadSchedule(
                f"{text!r}: {fields[position]!r:.80} is no {name}; it takes {takes}, and lists "
                "(1,3), ranges from low to high (1-5) and steps (*/2) of numbers"
            )
    if not _is_cron(expression):
        raise BadSchedule(
            f"{text!r} never happens: there is no day {fields[2]} in month {fields[3]}"
        )
    return Cron(expression, zone)


def _is_cron(expression: str) -> bool:
    try:
        CronSim(expression, EPOCH)
    except CronSimError:
        return False
    return True


@lru_cache(maxsize=1_024)
def zone_of(name: str) -> tzinfo:
    """The time zone of that name; there are some 600.

    Raises:
        BadSchedule: this machine knows none; the text names the one that was meant, perhaps.
    """
    if name == "UTC":
        return UTC  # with which cron is twice as fast, and which needs no zones on the machine
    if len(name) <= MAX_ZONE_CHARS and _ZONE_NAME.fullmatch(name):
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass  # unknown, a folder of zones, or a file that is none
    names = _names_of_zones()
    close = get_close_matches(name[:MAX_ZONE_CHARS].lower(), names, 1, _CLOSE)
    hint = f"did you mean {names[close[0]]!r}?" if close else "they are named like 'Europe/Berlin'"
    raise BadSchedule(f"there is no time zone {name!r:.80}; {hint}")


@lru_cache(maxsize=1)
def _names_of_zones() -> dict[str, str]:
    """The zones of this machine, by what somebody may have written: a name or its last part."""
    zones = sorted(zone for zone in available_timezones() if _ZONE_NAME.fullmatch(zone))
    last_parts = {zone.rpartition("/")[2].lower(): zone for zone in zones}
    return last_parts | {zone.lower(): zone for zone in zones}
