"""What the watermark of a bot holds: only what is settled."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.channels.discord_gateway import Session
from turnkeeper.channels.discord_progress import MAX_CHANNELS, Progress


def _at(seq: int, session_id: str = "s") -> Session:
    return Session(session_id=session_id, url="wss://gateway.discord.gg", seq=seq)


def _again(progress: Progress) -> Progress:
    return Progress(progress.stored(), "a")


def test_without_a_watermark_nothing_is_known() -> None:
    progress = Progress(None, "a")
    assert (progress.session, dict(progress.marks)) == (None, {})


def test_a_session_is_stored_up_to_the_oldest_event_that_is_not_settled() -> None:
    progress = Progress(None, "a")
    progress.begin(_at(1))
    progress.heard(_at(2))
    ticket = progress.open(_at(3), "10", "500")
    progress.settle(progress.open(_at(4), "11", "501"))
    progress.heard(_at(5))
    assert _again(progress).session == _at(2)
    progress.settle(ticket)
    assert _again(progress).session == _at(5)


def test_a_message_that_is_not_settled_is_behind_its_channels_mark() -> None:
    progress = Progress(None, "a")
    progress.begin(_at(1))
    progress.open(_at(2), "10", "500")
    assert dict(_again(progress).marks) == {"10": "499"}
    progress.passed("10", "500")
    assert dict(_again(progress).marks) == {"10": "500"}


def test_a_mark_never_goes_back() -> None:
    progress = Progress(None, "a")
    progress.passed("10", "900")
    progress.passed("10", "95")
    assert progress.marks["10"] == "900"


def test_until_missed_messages_were_fetched_no_session_is_stored() -> None:
    progress = Progress(json.dumps({"account": "a", "marks": {"10": "5", "11": "6"}}), "a")
    assert progress.begin(_at(1)) == ["11", "10"]
    assert _again(progress).session is None
    progress.caught_up("10")
    assert _again(progress).session is None
    progress.forget("11")
    assert _again(progress).session == _at(1)
    assert dict(progress.marks) == {"10": "5"}


def test_what_an_earlier_session_leaves_open_does_not_settle_a_later_one() -> None:
    progress = Progress(None, "a")
    progress.begin(_at(1))
    old = progress.open(_at(2), "10", "500")
    progress.begin(_at(1, "t"))
    progress.caught_up("10")
    progress.open(_at(2, "t"), "10", "501")
    progress.settle(old)
    assert _again(progress).session == _at(1, "t")


def test_the_channels_heard_last_are_remembered_and_fit() -> None:
    progress = Progress(None, "a")
    progress.begin(Session(session_id="s" * 64, url="wss://gateway.discord.gg", seq=2**31))
    for number in range(MAX_CHANNELS + 5):
        progress.passed(str(9_000_000_000_000_000_000 + number), "9" * 19)
    assert len(progress.marks) == MAX_CHANNELS
    assert str(9_000_000_000_000_000_000) not in progress.marks
    assert len(progress.stored()) < 65_536


@given(
    st.text()
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["marks", "session", "10", "x"]), inner)
        ),
    ).map(json.dumps)
)
def test_a_watermark_that_cannot_be_read_is_none(stored: str) -> None:
    progress = Progress(stored, "a")
    progress.passed("10", "7")
    assert _again(progress).marks["10"]


def test_a_stored_session_is_read_back_as_it_was() -> None:
    stored = json.dumps(
        {"account": "a", "marks": {"10": "5", "x": "6", "11": 7}, "session": ["s", "wss://g", 4]}
    )
    progress = Progress(stored, "a")
    assert progress.session == Session(session_id="s", url="wss://g", seq=4)
    assert dict(progress.marks) == {"10": "5"}


def test_a_session_that_is_lost_is_not_stored() -> None:
    progress = Progress(
        json.dumps({"account": "a", "marks": {"10": "5"}, "session": ["s", "wss://g", 4]}), "a"
    )
    progress.lose()
    assert _again(progress).session is None
    assert dict(_again(progress).marks) == {"10": "5"}


def test_the_session_of_another_token_is_not_resumed() -> None:
    progress = Progress(None, "a")
    progress.begin(_at(1))
    progress.passed("10", "5")
    other = Progress(progress.stored(), "b")
    assert other.session is None
    assert dict(other.marks) == {"10": "5"}
