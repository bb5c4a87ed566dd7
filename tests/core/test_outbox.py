"""The lanes of a session's open deliveries."""

from __future__ import annotations

import pytest

from turnkeeper.actors.core.delivery_records import DeliveryStatus
from turnkeeper.actors.core.outbox import FINAL_STATUSES, First, Outbox
from turnkeeper.actors.messages import Address, Instance

A = Address(instance=Instance("tg"), conversation="a")
B = Address(instance=Instance("tg"), conversation="b")


def first(
    seq: int,
    *,
    sending: bool = False,
    attempt: int = 1,
    ambiguous: bool = False,
    duplicate: bool = False,
    parts: tuple[str, ...] = (),
) -> First:
    return First(seq, sending, attempt, ambiguous, duplicate, parts)


def test_the_first_of_a_lane_is_under_way_as_soon_as_it_enters() -> None:
    outbox = Outbox()
    outbox.enter(3, A)
    outbox.enter(4, A)
    assert outbox.is_first(3)
    assert outbox.is_sending(3)
    assert not outbox.is_first(4)
    assert not outbox.is_sending(4)


@pytest.mark.parametrize("status", sorted(FINAL_STATUSES))
def test_each_final_status_ends_a_delivery(status: DeliveryStatus) -> None:
    outbox = Outbox()
    outbox.enter(3, A)
    outbox.enter(4, A)
    outbox.note(3, status, 1)
    assert 3 not in outbox
    assert outbox.first_waiting(A) == 4
    assert not outbox.is_sending(4)
    outbox.note(4, "sending", 1)
    outbox.note(4, status, 1)
    assert not outbox


def test_a_failed_attempt_pauses_and_the_next_one_has_the_next_number() -> None:
    outbox = Outbox()
    outbox.enter(3, A)
    outbox.note(3, "retrying", 1)
    assert outbox.is_paused(3)
    assert list(outbox.firsts()) == [first(3, attempt=2)]
    outbox.note(3, "sending", 2)
    assert list(outbox.firsts()) == [first(3, sending=True, attempt=2, ambiguous=True)]


def test_what_may_have_arrived_once_stays_ambiguous_until_it_is_over() -> None:
    outbox = Outbox()
    outbox.enter(3, A)
    outbox.enter(4, A)
    outbox.note(3, "retrying", 1, may_have_arrived=True)
    outbox.note(3, "sending", 2)
    outbox.note(3, "retrying", 2)
    assert list(outbox.firsts()) == [first(3, attempt=3, ambiguous=True)]
    outbox.note(3, "unknown", 3)
    assert list(outbox.firsts()) == [first(4)]


def test_a_pausing_delivery_is_none_that_waits_for_its_first_attempt() -> None:
    outbox = Outbox()
    outbox.enter(3, A)
    outbox.note(3, "retrying", 1)
    assert outbox.first_waiting(A) == 0


@pytest.mark.parametrize("status", ["delivered", "retrying", "sending"])
def test_news_of_a_delivery_that_waits_or_is_unknown_change_nothing(status: DeliveryStatus) -> None:
    outbox = Outbox()
    outbox.enter(3, A)
    outbox.enter(4, A)
    before = repr(outbox)
    outbox.note(4, status, 1)
    outbox.note(99, status, 1)
    assert repr(outbox) == before


def test_lanes_do_not_touch_each_other() -> None:
    outbox = Outbox()
    for seq, place in ((3, A), (4, B), (5, None), (6, B)):
        outbox.enter(seq, place)
    outbox.note(4, "delivered", 1)
    assert [seq for seq, *_ in outbox.firsts()] == [3, 6, 5]
    assert outbox.place_of(5) is None
    assert len(outbox) == 3


def test_the_oldest_is_the_record_that_opened_the_oldest_open_delivery() -> None:
    outbox = Outbox()
    outbox.enter(8, A)
    outbox.enter(9, B)
    outbox.reopen(3, A, since=12)
    assert outbox.oldest == 8
    outbox.note(8, "delivered", 1)
    assert outbox.oldest == 9
    outbox.note(9, "delivered", 1)
    assert outbox.oldest == 12
    outbox.note(3, "failed", 1)
    outbox.enter(20, A)
    assert outbox.oldest == 20


def test_a_delivery_opened_again_alone_in_its_lane_is_not_under_way_yet() -> None:
    outbox = Outbox()
    outbox.reopen(3, A, since=12)
    assert not outbox.is_sending(3)
    assert outbox.first_waiting(A) == 3


def test_what_has_arrived_of_a_message_in_parts_is_known_until_it_is_over() -> None:
    outbox = Outbox()
    outbox.enter(3, A)
    outbox.enter(4, A)
    outbox.note(3, "retrying", 1, parts=("p1",))
    assert list(outbox.firsts()) == [first(3, attempt=2, parts=("p1",))]
    outbox.note(3, "sending", 2)
    assert outbox.first(3) == first(3, sending=True, attempt=2, ambiguous=True, parts=("p1",))
    outbox.note(3, "retrying", 2, parts=("p1", "p2"))
    assert outbox.first(3).parts == ("p1", "p2")
    outbox.note(3, "delivered", 3, parts=("p1", "p2", "p3"))
    assert list(outbox.firsts()) == [first(4)]


def test_a_delivery_opened_again_goes_on_behind_the_parts_that_have_arrived() -> None:
    outbox = Outbox()
    outbox.reopen(3, A, since=12, duplicate=True, parts=("p1",))
    assert outbox.first(3) == first(3, duplicate=True, parts=("p1",))
    outbox.note(3, "sending", 1)
    outbox.note(3, "retrying", 1, parts=("p1", "p2"))
    assert outbox.first(3) == first(3, attempt=2, duplicate=True, parts=("p1", "p2"))
    outbox.note(3, "failed", 2)
    assert not outbox


def test_only_the_delivery_that_was_opened_again_is_marked_as_a_duplicate() -> None:
    outbox = Outbox()
    outbox.enter(8, A)
    outbox.reopen(3, A, since=12, duplicate=True, parts=("p1",))
    assert outbox.first(8) == first(8, sending=True, ambiguous=True)
    outbox.note(8, "delivered", 1)
    assert outbox.first(3) == first(3, duplicate=True, parts=("p1",))
    outbox.note(3, "delivered", 1)
    outbox.reopen(3, A, since=20)
    assert outbox.first(3) == first(3)
