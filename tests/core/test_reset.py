"""When a session begins anew by itself, and when it never does."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.actors.core.conversation import Conversation
from turnkeeper.actors.core.delivery_records import NoteRecord
from turnkeeper.actors.core.effects import Step
from turnkeeper.actors.core.ownership_records import OpenedRecord
from turnkeeper.actors.core.reset import BadReset, ResetPolicy, read_policy, reset_due
from turnkeeper.actors.core.turn_records import AssistantRecord, UserRecord
from turnkeeper.actors.core.view_records import ClearRecord, SummaryRecord
from turnkeeper.actors.messages import (
    Address,
    AgentReply,
    InboundTurn,
    Instance,
    MissionTurn,
)

NOTICE = "We begin anew."
HOUR_US = 3_600_000_000


def us(text: str, zone: str = "UTC", fold: int = 0) -> int:
    """A moment by the clock on the wall of a zone."""
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return int(moment.timestamp() * 1_000_000)


def policy(
    daily_at: str = "", zone: str = "UTC", after_idle_s: float = 0.0, notice: str = NOTICE
) -> ResetPolicy:
    read = read_policy(after_idle_s, daily_at, zone, notice)
    assert read is not None
    return read


# --- what can be written ------------------------------------------------------------------------


def test_without_a_time_there_is_no_policy() -> None:
    assert read_policy(0.0, "", "Europe/Berlin", NOTICE) is None


def test_both_can_be_wanted() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    read = policy("23:59", "Europe/Berlin", 1.5)
    assert read == ResetPolicy(NOTICE, 1_500_000, time(23, 59), berlin)


@pytest.mark.parametrize(
    ("key", "wrong", "text"),
    [
        ("reset_after_idle_s", -1.0, "0 or more, not -1.0"),
        ("reset_after_idle_s", float("nan"), "not nan"),
        ("reset_after_idle_s", float("inf"), "not inf"),
        ("reset_daily_at", "4:00", "a time of day like '04:00', or empty for never, not '4:00'"),
        ("reset_daily_at", "24:00", "not '24:00'"),
        ("reset_daily_at", "04:60", "not '04:60'"),
        ("reset_daily_at", "04:00:00", "not '04:00:00'"),
        ("reset_daily_at", " 04:00", "not ' 04:00'"),
        ("reset_daily_at", "٠٤:٠٠", "a time of day"),
        ("reset_zone", "Europe/Berlim", "did you mean 'Europe/Berlin'?"),
        ("reset_zone", "", "there is no time zone ''"),
        ("reset_notice", "", "the text is empty"),
        ("reset_notice", " \n", "the text is empty"),
    ],
)
def test_what_makes_no_sense_is_named_even_where_it_is_not_needed(
    key: str, wrong: object, text: str
) -> None:
    given_keys: dict[str, object] = {
        "reset_after_idle_s": 0.0,
        "reset_daily_at": "",
        "reset_zone": "UTC",
        "reset_notice": NOTICE,
        key: wrong,
    }
    with pytest.raises(BadReset) as caught:
        read_policy(*given_keys.values())  # type: ignore[arg-type]
    assert caught.value.key == key
    assert text in str(caught.value)


# --- when it is due -----------------------------------------------------------------------------


def test_idle_is_counted_from_the_last_turn() -> None:
    idle = policy(after_idle_s=3600.0)
    assert reset_due(idle, 1, HOUR_US) is None
    assert reset_due(idle, 1, HOUR_US + 1) == "policy idle"
    assert reset_due(idle, HOUR_US, 0) is None  # the clock was set back


def test_a_session_without_a_turn_is_never_due() -> None:
    assert reset_due(policy("04:00", after_idle_s=1.0), 0, us("2026-01-08T12:00")) is None


@pytest.mark.parametrize(
    ("last", "now", "due"),
    [
        ("2026-01-07T18:00", "2026-01-08T03:59:59", False),
        ("2026-01-07T18:00", "2026-01-08T04:00", True),
        ("2026-01-08T03:59:59", "2026-01-08T04:00", True),
        ("2026-01-08T04:00", "2026-01-08T04:00", False),
        ("2026-01-08T04:00", "2026-01-09T03:59", False),
        ("2026-01-08T04:00", "2026-01-09T04:00", True),
        ("2025-12-01T00:00", "2026-01-08T03:00", True),
    ],
)
def test_each_day_is_due_once_its_time_has_passed_since_the_last_turn(
    last: str, now: str, due: bool
) -> None:
    assert (reset_due(policy("04:00"), us(last), us(now)) == "policy daily") is due


def test_of_both_idle_is_named() -> None:
    both = policy("04:00", after_idle_s=60.0)
    assert reset_due(both, us("2026-01-07T18:00"), us("2026-01-08T05:00")) == "policy idle"
    assert reset_due(both, us("2026-01-08T03:59:30"), us("2026-01-08T04:00:10")) == "policy daily"


def test_the_time_of_day_is_that_of_the_zone() -> None:
    tokyo = policy("04:00", "Asia/Tokyo")
    last = us("2026-01-07T18:00")  # 03:00 of the 8th there
    assert reset_due(tokyo, last, us("2026-01-07T18:59")) is None
    assert reset_due(tokyo, last, us("2026-01-07T19:00")) == "policy daily"


def _moment(wanted: ResetPolicy, before_us: int, after_us: int) -> datetime:
    """The one moment between two, at which a session that was used before comes to be due."""
    low, high = before_us, after_us
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reset_due(wanted, before_us, middle) else (middle, high)
    return datetime.fromtimestamp(high / 1e6, UTC)


@pytest.mark.parametrize(
    ("zone", "at", "before", "moment"),
    [
        # 02:00 to 03:00 is left out, as late as the clocks are put forward
        ("Europe/Berlin", "02:30", "2026-03-28T12:00", "2026-03-29T01:30"),
        ("Europe/Berlin", "03:00", "2026-03-28T12:00", "2026-03-29T01:00"),
        # 02:00 to 03:00 comes twice, the first counts
        ("Europe/Berlin", "02:30", "2026-10-24T12:00", "2026-10-25T00:30"),
        ("Europe/Berlin", "03:00", "2026-10-24T12:00", "2026-10-25T02:00"),
        # by half an hour
        ("Australia/Lord_Howe", "02:15", "2026-10-03T12:00", "2026-10-03T15:45"),
        # at one minute past midnight, back into the day before
        ("America/St_Johns", "00:00", "2010-11-06T12:00", "2010-11-07T02:30"),
        # the whole 30th of December is left out
        ("Pacific/Apia", "04:00", "2011-12-29T15:00", "2011-12-30T14:00"),
    ],
)
def test_where_the_clocks_change_it_is_due_once(
    zone: str, at: str, before: str, moment: str
) -> None:
    wanted, before_us = policy(at, zone), us(before)
    found = _moment(wanted, before_us, before_us + 26 * HOUR_US)
    assert found == datetime.fromisoformat(moment).replace(tzinfo=UTC)
    found_us = int(found.timestamp() * 1_000_000)
    for minutes in range(0, 22 * 60, 7):
        assert reset_due(wanted, found_us, found_us + minutes * 60_000_000) is None


@given(
    zone=st.sampled_from(
        ["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Asia/Kathmandu"]
    ),
    minute=st.integers(0, 1_439),
    now_us=st.integers(us("2009-01-01T00:00"), us("2030-01-01T00:00")),
)
def test_whoever_was_away_for_two_days_is_due_and_whoever_just_wrote_is_not(
    zone: str, minute: int, now_us: int
) -> None:
    wanted = policy(f"{minute // 60:02}:{minute % 60:02}", zone)
    assert reset_due(wanted, now_us, now_us) is None
    assert reset_due(wanted, now_us - 50 * HOUR_US, now_us) == "policy daily"


# --- what a session makes of it -----------------------------------------------------------------


def turn(text: str = "hi") -> InboundTurn:
    return InboundTurn(
        address=Address(Instance("tg"), "c1"),
        platform="telegram",
        message_id=f"m-{text}",
        user_id="u1",
        text=text,
    )


NOW_US = us("2026-01-07T12:00")
DAY_US = 24 * HOUR_US
RESET = policy("04:00")


@pytest.fixture
def core() -> Conversation:
    made = Conversation()
    made.apply(OpenedRecord(at_us=NOW_US, session_id="s1", agent="main", by="first message"))
    return made


def answered(core: Conversation, text: str, now_us: int) -> Step:
    step = core.accept(turn(text), now_us, RESET)
    core.finish(core.next_seq - 1, turn(text), AgentReply(text="ok"), now_us)
    return step


def test_the_marker_and_the_notice_stand_before_the_turn_in_one_batch(core: Conversation) -> None:
    answered(core, "one", NOW_US)
    step = core.accept(turn("two"), NOW_US + DAY_US, RESET)
    marker, said, asked = step.records
    assert marker == ClearRecord(at_us=NOW_US + DAY_US, by="policy daily")
    assert isinstance(said, AssistantRecord)
    assert (said.text, said.by, said.route, said.reply_to) == (NOTICE, "runtime", "command", None)
    assert (said.instance, said.conversation, said.thread) == turn().address
    assert isinstance(asked, UserRecord)
    assert core.running == core.next_seq - 1 == step.first_seq + 2
    assert (core.cleared, core.context_messages) == (step.first_seq, 1)


def test_it_begins_anew_once_and_not_with_each_turn(core: Conversation) -> None:
    answered(core, "one", NOW_US)
    assert len(answered(core, "two", NOW_US + DAY_US).records) == 3
    assert len(answered(core, "three", NOW_US + DAY_US + HOUR_US).records) == 1


def test_an_empty_context_does_not_begin_anew_and_nothing_is_said(core: Conversation) -> None:
    assert len(core.accept(turn(), NOW_US, RESET).records) == 1
    core.finish(2, turn(), AgentReply(text="ok"), NOW_US)
    core.clear("user", NOW_US + 1)
    assert len(core.accept(turn("two"), NOW_US + DAY_US, RESET).records) == 1


def test_a_note_alone_is_no_reason_to_begin_anew(core: Conversation) -> None:
    core.hear(_note())
    assert len(core.accept(turn(), NOW_US + DAY_US, RESET).records) == 1


def _note() -> NoteRecord:
    return NoteRecord(
        at_us=NOW_US,
        text="3 new mails",
        source="mission inbox",
        session_id="mission-inbox",
        mission="inbox",
        delivery_id=None,
        instance="tg",
        conversation="c1",
        thread=None,
    )


def test_while_a_turn_is_open_nothing_begins_anew(core: Conversation) -> None:
    core.accept(turn("one"), NOW_US, RESET)
    assert len(core.accept(turn("two"), NOW_US + DAY_US, RESET).records) == 1
    core.finish(2, turn("one"), AgentReply(text="ok"), NOW_US + DAY_US)
    assert len(core.accept(turn("three"), NOW_US + 2 * DAY_US, RESET).records) == 1


def test_a_mission_begins_nothing_anew(core: Conversation) -> None:
    answered(core, "one", NOW_US)
    run = MissionTurn(mission="inbox", run=1, text="anything new?", due_us=NOW_US + DAY_US)
    step = core.run_mission(run, None, "schedule", NOW_US + DAY_US)
    assert [record.kind for record in step.records] == ["mission"]


def test_a_context_that_begins_with_a_summary_is_not_empty(core: Conversation) -> None:
    answered(core, "one", NOW_US)
    core.apply(
        SummaryRecord(
            at_us=NOW_US,
            text="one",
            through=2,
            asides=3,
            by="extract",
            tokens=1,
            covered_tokens=10,
            covered_bound=core.context_bound,
            covered_messages=core.context_messages,
        )
    )
    summary = core.summary
    step = core.accept(turn("two"), NOW_US + timedelta(days=1) // timedelta(microseconds=1), RESET)
    assert step.records[0] == ClearRecord(at_us=NOW_US + DAY_US, by="policy daily", summary=summary)
