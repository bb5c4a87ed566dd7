"""When a mission is due: what is understood and refused, ticks at changes of the clock, misses."""

from __future__ import annotations

import time
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from turnkeeper.actors.core.schedule import (
    END_US,
    GRACE_US,
    BadSchedule,
    Due,
    Missed,
    Schedule,
    catch_up,
    jitter_us,
    next_tick,
    read_schedule,
)
from turnkeeper.actors.core.schedule_text import (
    EPOCH,
    MAX_PERIOD_S,
    MAX_SCHEDULE_CHARS,
    MAX_ZONE_CHARS,
)

S = 1_000_000
MINUTE = 60 * S
HOUR = 60 * MINUTE
DAY = 24 * HOUR
BERLIN = "Europe/Berlin"


def us(text: str, zone: str = "UTC") -> int:
    """A moment, written as ISO 8601 has it, in microseconds since the epoch."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    return round((moment - EPOCH).total_seconds()) * S


NOW = us("2026-03-01T10:00")  # a Sunday


def ticks(schedule: Schedule, after: str, count: int) -> list[str]:
    """The next ticks, on the clock of the schedule's zone, with its offset."""
    found: list[str] = []
    tick_us: int | None = us(after, schedule.zone)
    for _ in range(count):
        assert tick_us is not None
        tick_us = next_tick(schedule, tick_us)
        if tick_us is None:
            break
        moment = datetime.fromtimestamp(tick_us // S, ZoneInfo(schedule.zone))
        found.append(moment.isoformat(timespec="minutes"))
    return found


def refusal(text: str, zone: str = "UTC", now_us: int = NOW) -> str:
    with pytest.raises(BadSchedule) as caught:
        read_schedule(text, zone, now_us)
    return str(caught.value)


# -- what is understood --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        ("0 9 * * mon-fri", "2026-03-02T09:00", "2026-03-03T09:00"),
        ("30 18 * * FRI", "2026-03-06T18:30", "2026-03-13T18:30"),
        ("*/15 * * * *", "2026-03-01T10:15", "2026-03-01T10:30"),
        ("0 0 L * *", "2026-03-31T00:00", "2026-04-30T00:00"),
        ("0 0 29 2 *", "2028-02-29T00:00", "2032-02-29T00:00"),
        ("0 0 13 * fri", "2026-03-06T00:00", "2026-03-13T00:00"),
        ("0 0 * 2 mon#5", "2044-02-29T00:00", "2072-02-29T00:00"),
        ("@hourly", "2026-03-01T11:00", "2026-03-01T12:00"),
        ("@daily", "2026-03-02T00:00", "2026-03-03T00:00"),
        ("@Weekly", "2026-03-08T00:00", "2026-03-15T00:00"),
        ("@monthly", "2026-04-01T00:00", "2026-05-01T00:00"),
        ("@yearly", "2027-01-01T00:00", "2028-01-01T00:00"),
        ("every 15m", "2026-03-01T10:15", "2026-03-01T10:30"),
        ("every 1h30m", "2026-03-01T11:30", "2026-03-01T13:00"),
        ("Every 1h 30m", "2026-03-01T11:30", "2026-03-01T13:00"),
        ("every 2w", "2026-03-15T10:00", "2026-03-29T10:00"),
        ("every 1w1d1h1m60s", "2026-03-09T11:02", "2026-03-17T12:04"),
    ],
)
def test_a_schedule_is_due_when_its_text_says(text: str, first: str, second: str) -> None:
    schedule = read_schedule(text, "UTC", NOW)
    assert ticks(schedule, "2026-03-01T10:00", 2) == [f"{first}+00:00", f"{second}+00:00"]


@pytest.mark.parametrize(
    ("text", "zone", "moment"),
    [
        ("at 2026-12-01T09:00", "UTC", "2026-12-01T09:00Z"),
        ("at 2026-12-01T09:00", BERLIN, "2026-12-01T08:00Z"),
        ("at 2026-12-01 09:00:30", BERLIN, "2026-12-01T08:00:30Z"),
        ("at 2026-12-01T09:00Z", BERLIN, "2026-12-01T09:00Z"),
        ("AT 2026-12-01t09:00z", BERLIN, "2026-12-01T09:00Z"),
        ("at 2026-12-01T09:00-05:30", BERLIN, "2026-12-01T14:30Z"),
    ],
)
def test_a_moment_is_due_once(text: str, zone: str, moment: str) -> None:
    schedule = read_schedule(text, zone, NOW)
    assert next_tick(schedule, NOW) == us(moment)
    assert next_tick(schedule, us(moment) - 1) == us(moment)
    assert next_tick(schedule, us(moment)) is None


def test_spaces_around_and_between_words_mean_nothing() -> None:
    assert read_schedule("  0  9 * * * ", "UTC", NOW).text == "0 9 * * *"


def test_a_period_counts_from_its_anchor_and_does_not_drift() -> None:
    schedule = read_schedule("every 7m", "UTC", NOW + 123)
    late_us = NOW + 123 + 1_000_000 * 7 * MINUTE + 3 * S
    assert next_tick(schedule, late_us) == NOW + 123 + 1_000_001 * 7 * MINUTE
    assert next_tick(schedule, NOW - DAY) == NOW + 123 + 7 * MINUTE


def test_a_schedule_that_was_kept_is_due_as_before() -> None:
    schedule = read_schedule("every 90s", BERLIN, NOW)
    kept = Schedule(schedule.text, schedule.zone, schedule.anchor_us)
    assert kept == schedule
    assert next_tick(kept, NOW) == NOW + 90 * S


# -- where the clocks change ---------------------------------------------------------------------

SPRING = "2026-03-28T12:00"
"""The day before 02:00 becomes 03:00."""
AUTUMN = "2026-10-24T12:00"
"""The day before 03:00 becomes 02:00."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30 2 * * *", ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
        ("0,30 2 * * *", ["2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00"]),
        ("0 2,3 * * *", ["2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00"]),
        ("0 9 * * *", ["2026-03-29T09:00+02:00", "2026-03-30T09:00+02:00"]),
    ],
)
def test_a_job_in_the_hour_that_is_left_out_runs_once_right_after_it(
    text: str, expected: list[str]
) -> None:
    assert ticks(read_schedule(text, BERLIN, NOW), SPRING, 2) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30 2 * * *", ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
        ("0,30 2 25 10 *", ["2026-10-25T02:00+02:00", "2026-10-25T02:30+02:00"]),
        ("0 2,3 * * *", ["2026-10-25T02:00+02:00", "2026-10-25T03:00+01:00"]),
    ],
)
def test_a_job_in_the_hour_that_comes_twice_runs_the_first_time_only(
    text: str, expected: list[str]
) -> None:
    assert ticks(read_schedule(text, BERLIN, NOW), AUTUMN, 2) == expected


def test_a_job_at_a_fixed_time_is_not_due_again_in_the_second_of_two_equal_hours() -> None:
    schedule = read_schedule("30 2 * * *", BERLIN, NOW)
    second_us = us("2026-10-25T02:15+01:00")
    assert next_tick(schedule, second_us) == us("2026-10-26T02:30+01:00")


def test_a_job_of_every_hour_goes_by_the_clock_on_the_wall() -> None:
    every_hour = read_schedule("0 * * * *", BERLIN, NOW)
    assert ticks(every_hour, "2026-03-29T00:30", 3) == [
        "2026-03-29T01:00+01:00",
        "2026-03-29T03:00+02:00",
        "2026-03-29T04:00+02:00",
    ]
    assert ticks(every_hour, "2026-10-25T01:30", 3) == [
        "2026-10-25T02:00+02:00",
        "2026-10-25T02:00+01:00",
        "2026-10-25T03:00+01:00",
    ]


def test_a_job_of_every_other_hour_has_no_tick_in_the_hour_that_is_left_out() -> None:
    every_other = read_schedule("0 */2 * * *", BERLIN, NOW)
    assert ticks(every_other, "2026-03-28T23:00", 2) == [
        "2026-03-29T00:00+01:00",
        "2026-03-29T04:00+02:00",
    ]
    assert ticks(every_other, "2026-10-25T01:00", 2) == [
        "2026-10-25T02:00+02:00",
        "2026-10-25T02:00+01:00",
    ]


def test_a_moment_that_is_left_out_is_later_by_the_gap() -> None:
    schedule = read_schedule("at 2026-03-29T02:30", BERLIN, NOW)
    assert ticks(schedule, SPRING, 2) == ["2026-03-29T03:30+02:00"]


def test_a_moment_that_comes_twice_is_the_first_of_the_two() -> None:
    schedule = read_schedule("at 2026-10-25T02:30", BERLIN, NOW)
    assert ticks(schedule, AUTUMN, 2) == ["2026-10-25T02:30+02:00"]


def test_a_period_counts_seconds_that_pass() -> None:
    schedule = read_schedule("every 1d", BERLIN, us("2026-03-28T09:00", BERLIN))
    assert ticks(schedule, SPRING, 1) == ["2026-03-29T10:00+02:00"]


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "'0 9 * * mon-fri'"),
        ("hello", "'every 15m'"),
        ("0 9 * *", "it is written as in"),
        ("0 0 9 * * mon", "cron has five"),
        ("0 0 9 * * mon 2026", "has 7 fields"),
        ("61 * * * *", "'61' is no minute; it takes 0-59"),
        ("0 24 * * *", "'24' is no hour; it takes 0-23"),
        ("0 0 32 * *", "'32' is no day of the month"),
        ("0 0 1 13 *", "'13' is no month; it takes 1-12 or jan-dec"),
        ("0 9 * * fri-mon", "'fri-mon' is no day of the week"),
        ("*/0 * * * *", "'*/0' is no minute"),
        ("@reboot", "there are @hourly"),
        ("* * 31 2 *", "there is no day 31 in month 2"),
        ("0 0 30,31 2 *", "there is no day 30,31 in month 2"),
        ("* * */20 * 1L", "no day of the next 50 years"),
        ("every", "as in 'every 15m'"),
        ("every 15", "as in 'every 15m'"),
        ("every 15M", "w, d, h, m and s"),
        ("every 30m1h", "the longer unit first"),
        ("every -5m", "names no period"),
        ("every 1.5h", "whole numbers"),
        ("every 0s", "from 1 second to 3,650 days"),
        ("every 3651d", "not 315,446,400 seconds"),
        ("every 999999999w", "from 1 second to 3,650 days"),
        ("every 9999999999s", "names no period"),
        ("at", "as in 'at 2026-12-01T09:00'"),
        ("at noon", "as in 'at 2026-12-01T09:00'"),
        ("at 2026-12-01", "as in 'at 2026-12-01T09:00'"),
        ("at 2026-W49-2T09:00", "as in 'at 2026-12-01T09:00'"),
        ("at 2026-12-01T24:00", "as in 'at 2026-12-01T09:00'"),
        ("at 2026-02-29T09:00", "names no moment: day"),
        ("at 2026-12-01T09:60", "names no moment: minute"),
        ("at 2026-12-01T09:00+25:00", "names no moment"),
        ("at 0000-01-01T00:00", "names no moment: year"),
        ("at 0001-01-01T00:00", "it is 2026-03-01 10:00:00+00:00 now"),
        ("at 2026-03-01T09:59", "it is 2026-03-01 10:00:00+00:00 now"),
        ("at 2026-03-01T10:00", "is over"),
        ("at 3000-01-01T00:00", "from the year 3000 on"),
        ("at 9999-12-31T23:59", "from the year 3000 on"),
        ("0 9 * * mon\u2013fri", "printable ASCII"),
        ("0 9 * * \u0661", "printable ASCII"),
        ("0 9\t* * *", "printable ASCII characters: '0 9\\t* * *'"),
        ("0 9 * * *\n", "printable ASCII"),
        ("0 9 * * *\x00", "printable ASCII"),
        ("*" * (MAX_SCHEDULE_CHARS + 1), "at most 200 characters, not 201"),
    ],
)
def test_a_refusal_names_what_is_wrong_and_what_would_be_right(text: str, says: str) -> None:
    assert says in refusal(text)


@pytest.mark.parametrize(
    ("zone", "says"),
    [
        ("Europe/Berln", "there is no time zone 'Europe/Berln'; did you mean 'Europe/Berlin'?"),
        ("europe/berlin", "did you mean 'Europe/Berlin'?"),
        ("berlin", "did you mean 'Europe/Berlin'?"),
        ("New York", "did you mean 'America/New_York'?"),
        ("utc", "did you mean 'UTC'?"),
        ("CEST", "they are named like 'Europe/Berlin'"),
        ("", "they are named like"),
        ("America", "there is no time zone 'America'"),
        ("localtime", "there is no time zone"),
        ("right/Europe/Berlin", "there is no time zone"),
        ("../../etc/passwd", "there is no time zone"),
        ("/etc/localtime", "there is no time zone"),
        ("Europe/Berlin\x00", "there is no time zone"),
        ("\udcff", "there is no time zone"),
        ("A" * 100_000, "there is no time zone"),
    ],
)
def test_an_unknown_time_zone_is_refused_with_the_one_that_was_meant(zone: str, says: str) -> None:
    for text in ("0 9 * * *", "every 1h", "at 2026-12-01T09:00"):
        message = refusal(text, zone)
        assert says in message
        assert len(message) < 300


def test_the_longest_period_is_taken() -> None:
    schedule = read_schedule(f"every {MAX_PERIOD_S}s", "UTC", NOW)
    assert next_tick(schedule, NOW) == NOW + MAX_PERIOD_S * S


@pytest.mark.parametrize("text", ["* * * * *", "every 1s", "at 2026-12-01T09:00"])
@pytest.mark.parametrize("now_us", [END_US, END_US + 1, 2**62, 2**80])
def test_nothing_is_due_from_the_year_3000_on(text: str, now_us: int) -> None:
    schedule = Schedule(text, BERLIN, NOW)
    assert next_tick(schedule, now_us) is None
    assert "from the year 3000 on" in refusal(text, BERLIN, now_us)


@pytest.mark.parametrize("text", ["* * * * *", "0 0 * * *", "every 1s"])
def test_the_last_ticks_are_those_before_the_year_3000(text: str) -> None:
    schedule = Schedule(text, "UTC", END_US - 2 * DAY)
    last_us = max(
        moment_us
        for back_us in (S, MINUTE, DAY)
        if (moment_us := next_tick(schedule, END_US - back_us - 1)) is not None
    )
    assert last_us < END_US
    assert next_tick(schedule, last_us) is None


def test_nothing_is_due_before_1970() -> None:
    assert next_tick(Schedule("* * * * *", BERLIN, NOW), -(2**62)) == 0
    assert next_tick(Schedule("at 1969-12-31T23:59", "UTC", NOW), -(2**62)) is None


@given(text=st.text(max_size=MAX_SCHEDULE_CHARS + 20), zone=st.sampled_from(["UTC", BERLIN]))
def test_any_text_is_a_schedule_or_refused(text: str, zone: str) -> None:
    reads_or_refuses(text, zone)


SPICED = st.sampled_from(
    [*"0123456789*/,-#L:TZ+wdhms.", "mon", "LW", "jan", "31", "every ", "at ", "2026-", " "]
)


@settings(max_examples=300, deadline=None)
@given(
    text=st.one_of(
        st.lists(SPICED, max_size=30).map("".join),
        st.lists(st.lists(SPICED, min_size=1, max_size=5).map("".join), min_size=5, max_size=5).map(
            " ".join
        ),
        st.lists(SPICED, max_size=12).map(lambda parts: "every " + "".join(parts)),
        st.datetimes().map(lambda moment: f"at {moment.isoformat(timespec='minutes')}"),
    ),
    zone=st.sampled_from(
        ["UTC", BERLIN, "America/New_York", "Pacific/Apia", "Australia/Lord_Howe"]
    ),
)
@example(text="* * 31 2 *", zone=BERLIN)
@example(text="0 0 31 2,4,6,9,11 */7", zone=BERLIN)
@example(text="* * */20 * 1L", zone=BERLIN)
@example(text=",".join(["0-59/1"] * 20) + " * * * 5L", zone=BERLIN)
@example(text="9" * 190 + " * * * *", zone=BERLIN)
@example(text="every " + "9" * 190 + "w", zone=BERLIN)
@example(text="at 0001-01-01T00:00", zone=BERLIN)
def test_a_text_that_is_nearly_one_is_a_schedule_or_refused_at_once(text: str, zone: str) -> None:
    started = time.process_time()
    reads_or_refuses(text, zone)
    # The longest search takes some 15 ms; a machine may be very slow, and a hang is far longer.
    assert time.process_time() - started < 5


def reads_or_refuses(text: str, zone: str) -> None:
    try:
        schedule = read_schedule(text, zone, NOW)
    except BadSchedule as refused:
        message = str(refused)
    else:
        tick_us = next_tick(schedule, NOW)
        assert tick_us is not None
        assert NOW < tick_us < END_US
        return
    assert message.isprintable()
    assert len(message) < 700


@settings(max_examples=300)
@given(zone=st.text(max_size=MAX_ZONE_CHARS + 10))
def test_any_zone_is_known_or_refused(zone: str) -> None:
    reads_or_refuses("every 1h", zone)


# -- ticks, whatever the schedule ----------------------------------------------------------------

SCHEDULES = st.builds(
    Schedule,
    st.sampled_from(
        [
            "* * * * *",
            "*/7 * * * *",
            "30 * * * *",
            "0 */2 * * *",
            "30 2 * * *",
            "0-59 2 * * *",
            "15,45 1-3 * * *",
            "0 0 * * sat",
            "@monthly",
            "every 1s",
            "every 59m59s",
            "every 1d",
            "at 2026-03-29T02:30",
            "at 2026-10-25T02:30",
        ]
    ),
    st.sampled_from(["UTC", BERLIN, "America/New_York", "Asia/Kolkata", "Pacific/Apia"]),
    st.just(us("2026-01-01T00:00") + 123_456),
)
MOMENTS = st.one_of(
    st.integers(us("2026-01-01T00:00"), us("2027-01-01T00:00")),
    st.integers(us("2026-03-29T00:00") - HOUR, us("2026-03-29T00:00") + 3 * HOUR),
    st.integers(us("2026-10-25T00:00") - HOUR, us("2026-10-25T00:00") + 3 * HOUR),
)


@settings(max_examples=500)
@given(schedule=SCHEDULES, one_us=MOMENTS, other_us=MOMENTS)
def test_no_tick_lies_between_a_moment_and_the_tick_after_it(
    schedule: Schedule, one_us: int, other_us: int
) -> None:
    tick_us = next_tick(schedule, one_us)
    if tick_us is None:
        assert other_us < one_us or next_tick(schedule, other_us) is None
        return
    assert tick_us > one_us
    assert next_tick(schedule, tick_us - 1) == tick_us
    assert next_tick(schedule, (one_us + tick_us) // 2) == tick_us
    if one_us <= other_us < tick_us:
        assert next_tick(schedule, other_us) == tick_us


# -- ticks that were missed ----------------------------------------------------------------------

DAILY = Schedule("0 9 * * *", BERLIN, NOW)
NINE = us("2026-06-01T09:00", BERLIN)


@pytest.mark.parametrize("missed", ["skip", "run_once"])
@pytest.mark.parametrize("late_us", [0, 1, GRACE_US])
def test_a_tick_that_is_merely_late_runs(missed: Missed, late_us: int) -> None:
    assert catch_up(DAILY, NINE, NINE + late_us, missed) == Due(NINE, NINE + DAY)


def test_a_tick_that_is_too_late_is_skipped() -> None:
    assert catch_up(DAILY, NINE, NINE + GRACE_US + 1, "skip") == Due(None, NINE + DAY)
    assert catch_up(DAILY, NINE, NINE + 3 * DAY, "skip") == Due(None, NINE + 4 * DAY)


def test_of_many_missed_ticks_the_newest_runs_once() -> None:
    late_us = NINE + GRACE_US + 1
    assert catch_up(DAILY, NINE, late_us, "run_once") == Due(NINE, NINE + DAY)
    days_later_us = NINE + 3 * DAY + HOUR
    assert catch_up(DAILY, NINE, days_later_us, "run_once") == Due(NINE + 3 * DAY, NINE + 4 * DAY)


def test_a_tick_at_this_very_moment_is_the_newest() -> None:
    assert catch_up(DAILY, NINE, NINE + 3 * DAY, "run_once") == Due(NINE + 3 * DAY, NINE + 4 * DAY)


def test_a_moment_that_was_missed_is_over_or_runs_late() -> None:
    once = Schedule("at 2026-06-01T09:00", BERLIN, NOW)
    assert catch_up(once, NINE, NINE + S, "skip") == Due(NINE, None)
    assert catch_up(once, NINE, NINE + DAY, "skip") == Due(None, None)
    assert catch_up(once, NINE, NINE + DAY, "run_once") == Due(NINE, None)


def test_a_short_period_does_not_run_again_and_again_to_make_up() -> None:
    every_second = Schedule("every 1s", "UTC", NOW)
    late = catch_up(every_second, NOW + S, NOW + 10 * S + 1, "skip")
    assert late == Due(NOW + S, NOW + 11 * S)


def test_the_grace_can_be_set() -> None:
    assert catch_up(DAILY, NINE, NINE + S, "skip", 0) == Due(None, NINE + DAY)
    assert catch_up(DAILY, NINE, NINE + HOUR, "skip", HOUR) == Due(NINE, NINE + DAY)


def test_what_is_not_due_yet_is_refused() -> None:
    with pytest.raises(ValueError, match="is not due"):
        catch_up(DAILY, NINE, NINE - 1, "skip")


def test_a_minute_job_that_was_away_for_ten_years_finds_its_newest_tick_at_once() -> None:
    schedule = Schedule("* * * * *", BERLIN, NOW)
    due_us = us("2026-06-01T09:00")
    now_us = us("2036-06-01T09:00") + 30 * S
    started = time.process_time()
    assert catch_up(schedule, due_us, now_us, "run_once") == Due(
        us("2036-06-01T09:00"), us("2036-06-01T09:01")
    )
    assert time.process_time() - started < 2  # minute by minute takes more than 60 s


@settings(max_examples=300)
@given(schedule=SCHEDULES, start_us=MOMENTS, away_us=st.integers(0, 3 * DAY))
def test_the_newest_tick_is_the_last_one_that_walking_finds(
    schedule: Schedule, start_us: int, away_us: int
) -> None:
    due_us = next_tick(schedule, start_us)
    if due_us is None:
        return
    now_us = due_us + (away_us if schedule.text != "every 1s" else away_us // 1_000)
    due = catch_up(schedule, due_us, now_us, "run_once", -1)
    walked_us = due_us
    while (tick_us := next_tick(schedule, walked_us)) is not None and tick_us <= now_us:
        walked_us = tick_us
    assert due == Due(walked_us, tick_us)


# -- jitter --------------------------------------------------------------------------------------


@given(due_us=st.integers(0, END_US), jitter_s=st.floats(0, 1e6), name=st.text())
def test_a_jitter_is_less_than_its_bound_and_the_same_again(
    due_us: int, jitter_s: float, name: str
) -> None:
    offset_us = jitter_us(due_us, jitter_s, name)
    assert offset_us == 0 or 0 < offset_us < jitter_s * S
    assert jitter_us(due_us, jitter_s, name) == offset_us


def test_a_jitter_is_the_same_in_every_version() -> None:
    assert jitter_us(NINE, 300, "inbox") == 237_885_542


def test_jitters_are_spread_over_missions_and_over_ticks() -> None:
    by_name = sorted(jitter_us(NINE, 100, f"m{number}") for number in range(1_000))
    by_tick = sorted(jitter_us(NINE + number * DAY, 100, "m") for number in range(1_000))
    for offsets in (by_name, by_tick):
        assert offsets[0] < 2 * S
        assert offsets[-1] > 98 * S
        assert max(late - early for early, late in pairwise(offsets)) < 3 * S


def test_no_jitter_puts_nothing_off() -> None:
    assert jitter_us(NINE, 0, "m") == 0
    assert jitter_us(NINE, 1e-7, "m") == 0
