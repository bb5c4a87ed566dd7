"""What a mission is, and what becomes of it at a tick, a pause or a change."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.actors.core.mission_definition import (
    MAX_JITTER_S,
    MAX_PROMPT_CHARS,
    Definition,
    MissionRefused,
    check_mission_name,
    define,
)
from turnkeeper.actors.core.missions import (
    MissionRow,
    added,
    changed,
    is_blocked,
    passed_over,
    paused,
    read_mission,
    replanned,
    resumed,
    run_now,
    take_tick,
)
from turnkeeper.actors.core.records import MalformedRecord
from turnkeeper.actors.messages import Address, Instance
from turnkeeper.actors.mission_rows import mission_key, put_mission
from turnkeeper.storage.base import Batch, Table
from turnkeeper.storage.codec import decode

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
NOW: Final = int(datetime(2026, 1, 7, 12, tzinfo=UTC).timestamp()) * SECOND
"""A Wednesday at noon."""


def defined(**parts: Any) -> Definition:
    wanted: dict[str, Any] = {
        "name": "inbox",
        "schedule": "0 9 * * *",
        "zone": "UTC",
        "prompt": "look",
        "agent": "main",
        "session_id": "mission-inbox",
        "notify": "tg",
        "on_behalf_of": None,
        "missed": "skip",
        "overlap": "skip",
        "jitter_s": 0.0,
        "on_failure": None,
        "by": "program",
        "now_us": NOW,
    }
    return define(**wanted | parts)


def fresh(**parts: Any) -> MissionRow:
    return added(defined(**parts), NOW)


# -- definitions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "wrong", "says"),
    [
        ("name", "", "1 to 56 letters"),
        ("name", "a b", "1 to 56 letters"),
        ("name", "x" * 57, "1 to 56 letters"),
        ("name", "naïve", "1 to 56 letters"),
        ("name", "inbox\n", "1 to 56 letters"),
        ("name", 7, "1 to 56 letters"),
        ("prompt", "", "empty"),
        ("prompt", " \n", "empty"),
        ("prompt", "x" * (MAX_PROMPT_CHARS + 1), "1000000 are allowed"),
        ("missed", "later", "'skip', 'run_once'"),
        ("overlap", "queue", "'queue_one'"),
        ("jitter_s", -1, "from 0 to 86400"),
        ("jitter_s", float("nan"), "from 0 to 86400"),
        ("jitter_s", float("inf"), "from 0 to 86400"),
        ("jitter_s", True, "from 0 to 86400"),
        ("jitter_s", MAX_JITTER_S + 1, "from 0 to 86400"),
        ("schedule", "0 9 * *", "0 9 * *"),
        ("schedule", "at 2026-01-07T11:59", "is over"),
        ("zone", "Mars/Olympus", "Mars/Olympus"),
    ],
)
def test_what_is_wrong_with_a_mission_is_named(part: str, wrong: Any, says: str) -> None:
    with pytest.raises(MissionRefused, match=says) as refused:
        defined(**{part: wrong})
    assert refused.value.field == part


def test_a_name_may_be_as_long_as_a_session_can_be_named_after() -> None:
    check_mission_name("x" * 56)
    assert fresh(name=".a-b_C.9").definition.name == ".a-b_C.9"


def test_a_schedule_that_is_over_is_refused_anew_and_kept_where_it_was() -> None:
    before = defined(schedule="at 2026-01-07T13:00")
    again = defined(schedule=" at  2026-01-07T13:00 ", now_us=NOW + DAY, before=before)
    assert again == before
    with pytest.raises(MissionRefused):
        defined(schedule="at 2026-01-07T13:00", zone="Europe/Berlin", now_us=NOW + DAY)


def some_row(
    prompt: str, notify: str | None, jitter_s: float, overlap: str, asked_at: Address | None
) -> MissionRow:
    row = fresh(prompt=prompt, notify=notify, jitter_s=jitter_s, overlap=overlap, asked_at=asked_at)
    return row._replace(runs=3, skipped_why="why")


@given(
    st.builds(
        some_row,
        prompt=st.text(min_size=1, max_size=20).filter(str.strip),
        notify=st.none() | st.just("tg"),
        jitter_s=st.floats(0, MAX_JITTER_S) | st.integers(0, 1000),
        overlap=st.sampled_from(["skip", "queue_one", "allow"]),
        asked_at=st.none() | st.just(Address(Instance("tg"), "c1")),
    )
)
def test_a_row_comes_back_as_it_was_stored(row: MissionRow) -> None:
    batch = Batch()
    put_mission(batch, mission_key("inbox"), None, row)
    stored = {key: value for table, key, value in batch.puts if table == Table.MISSIONS}
    assert read_mission(decode(stored[mission_key("inbox")])) == row


@pytest.mark.parametrize("payload", [None, [], [[]], [["inbox"], 1], [1, 2], {"a": 1}, "inbox"])
def test_what_is_no_row_is_refused(payload: Any) -> None:
    with pytest.raises((MalformedRecord, TypeError)):
        read_mission(payload)


# -- ticks ---------------------------------------------------------------------------------------


def test_a_new_mission_waits_for_its_first_tick() -> None:
    row = fresh()
    assert row.next_us == row.due_us == NOW + 21 * HOUR
    assert row.runs == 0


def test_a_tick_in_time_runs_and_the_next_one_is_waited_for() -> None:
    row = fresh(schedule="every 15m")
    due_us = NOW + 15 * MINUTE
    taken = take_tick(row, due_us + 3 * SECOND, 0)
    assert taken.run is not None
    assert (taken.run.mission, taken.run.run, taken.run.due_us) == ("inbox", 1, due_us)
    assert taken.run.text == "look"
    assert taken.row.runs == 1
    assert taken.row.ran_us == due_us
    assert taken.row.next_us == NOW + 30 * MINUTE


@pytest.mark.parametrize(("missed", "runs"), [("skip", False), ("run_once", True)])
def test_what_was_missed_is_passed_over_or_runs_once(missed: str, runs: bool) -> None:
    row = fresh(schedule="every 15m", missed=missed)
    now_us = NOW + 3 * HOUR + 10 * MINUTE
    taken = take_tick(row, now_us, 0)
    assert (taken.run is not None) is runs
    assert taken.row.next_us == NOW + 3 * HOUR + 15 * MINUTE
    if taken.run is not None:
        assert taken.run.due_us == NOW + 3 * HOUR
        assert taken.row.skipped_us is None
    else:
        assert taken.row.skipped_us == NOW + 15 * MINUTE
        assert "in time" in (taken.row.skipped_why or "")


def test_a_tick_that_was_put_off_by_its_jitter_is_not_too_late() -> None:
    row = fresh(schedule="0 9 * * *", jitter_s=3600)
    assert row.next_us is not None
    assert row.due_us is not None
    assert row.next_us <= row.due_us < row.next_us + HOUR
    assert take_tick(row, row.due_us, 0).run is not None
    assert take_tick(row, row.next_us + HOUR + 59 * SECOND, 0).run is not None
    assert take_tick(row, row.next_us + HOUR + 61 * SECOND, 0).run is None


@pytest.mark.parametrize(
    ("overlap", "open_runs", "blocked"),
    [
        ("skip", 0, False),
        ("skip", 1, True),
        ("skip", 2, True),
        ("queue_one", 0, False),
        ("queue_one", 1, False),
        ("queue_one", 2, True),
        ("allow", 2, False),
    ],
)
def test_a_run_that_goes_on_blocks_the_next_as_the_mission_says(
    overlap: str, open_runs: int, blocked: bool
) -> None:
    row = fresh(schedule="every 1m", overlap=overlap)
    assert is_blocked(row, open_runs) is blocked
    taken = take_tick(row, NOW + MINUTE, open_runs)
    assert (taken.run is None) is blocked
    assert taken.row.next_us == NOW + 2 * MINUTE
    assert taken.row.skipped_us == (NOW + MINUTE if blocked else None)


def test_one_moment_is_waited_for_once() -> None:
    row = fresh(schedule="at 2026-01-07T13:00")
    taken = take_tick(row, NOW + HOUR, 0)
    assert taken.run is not None
    assert (taken.row.next_us, taken.row.due_us) == (None, None)


def test_a_time_zone_that_has_gone_stops_the_mission_and_is_told() -> None:
    row = fresh()
    lost = row._replace(definition=row.definition._replace(zone="Gone/Zone"))
    assert row.next_us is not None
    taken = take_tick(lost, row.next_us, 0)
    assert taken.run is None
    assert taken.row.due_us is None
    assert "Gone/Zone" in (taken.row.skipped_why or "")


def test_a_run_that_was_asked_for_leaves_the_schedule_as_it_is() -> None:
    row = fresh()
    taken = run_now(row, NOW + HOUR)
    assert taken.run is not None
    assert (taken.run.run, taken.run.due_us) == (1, NOW + HOUR)
    assert (taken.row.next_us, taken.row.due_us) == (row.next_us, row.due_us)


def test_a_tick_that_cannot_run_is_passed_over_for_the_reason() -> None:
    row = fresh(schedule="every 15m")
    after = passed_over(row, NOW + 15 * MINUTE, "no such channel")
    assert (after.skipped_us, after.skipped_why) == (row.next_us, "no such channel")
    assert after.next_us == NOW + 30 * MINUTE
    assert after.runs == 0


# -- changes -------------------------------------------------------------------------------------


def test_a_paused_mission_waits_for_nothing_and_makes_up_for_nothing() -> None:
    row = fresh(schedule="every 15m", missed="run_once")
    held = paused(row, "operator")
    assert (held.paused_by, held.next_us, held.due_us) == ("operator", None, None)
    assert paused(held, "config") is held
    back = resumed(held, NOW + 3 * HOUR + MINUTE)
    assert (back.paused_by, back.next_us) == (None, NOW + 3 * HOUR + 15 * MINUTE)
    assert resumed(back, NOW + 9 * HOUR) is back


def test_a_mission_that_stays_as_it_is_is_not_changed() -> None:
    row = fresh(schedule="every 15m")
    assert changed(row, row.definition, NOW + MINUTE) is row


def test_another_prompt_leaves_the_schedule_going() -> None:
    row = fresh(schedule="every 15m")
    other = defined(
        schedule="every 15m", prompt="look again", now_us=NOW + MINUTE, before=row.definition
    )
    after = changed(row, other, NOW + MINUTE)
    assert after.definition.prompt == "look again"
    assert after.next_us == row.next_us
    assert after.definition.anchor_us == NOW


def test_another_schedule_begins_now() -> None:
    row = fresh(schedule="every 15m")
    other = defined(schedule="every 1h", now_us=NOW + MINUTE, before=row.definition)
    after = changed(row, other, NOW + MINUTE)
    assert after.next_us == NOW + HOUR + MINUTE


def test_a_paused_mission_stays_paused_when_it_is_changed() -> None:
    row = paused(fresh(), "operator")
    after = changed(row, defined(schedule="every 1h"), NOW)
    assert (after.paused_by, after.next_us) == ("operator", None)


# -- a clock that is wrong -----------------------------------------------------------------------


def test_a_clock_that_was_a_year_ahead_costs_no_tick_once_it_is_right() -> None:
    row = fresh(schedule="every 15m")
    ahead = take_tick(row, NOW + 365 * DAY, 0).row
    assert ahead.next_us is not None
    assert ahead.next_us > NOW + 365 * DAY
    assert replanned(ahead, NOW + MINUTE).next_us == NOW + 15 * MINUTE


def test_a_tick_that_ran_does_not_run_again_when_the_clock_is_set_back() -> None:
    row = fresh(schedule="every 15m")
    ran = take_tick(row, NOW + 15 * MINUTE, 0).row
    assert replanned(ran, NOW + 5 * MINUTE).next_us == NOW + 30 * MINUTE
    assert replanned(ran, NOW + 16 * MINUTE) is ran


def test_what_ran_by_a_clock_that_was_far_ahead_holds_nothing_up() -> None:
    row = fresh(schedule="every 15m", missed="run_once")
    ahead = take_tick(row, NOW + 365 * DAY, 0)
    assert ahead.run is not None
    assert replanned(ahead.row, NOW + MINUTE).next_us == NOW + 15 * MINUTE
