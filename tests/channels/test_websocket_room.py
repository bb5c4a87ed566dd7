import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from turnkeeper.actors.messages import Address, DeliveryId, Instance
from turnkeeper.channels.base import Outbound
from turnkeeper.channels.websocket_limits import WebSocketLimits
from turnkeeper.channels.websocket_room import Reply, Room, UnknownCursor


def outbound(number: int, text: str = "x") -> Outbound:
    return Outbound(
        delivery_id=DeliveryId(f"s1/{number}"),
        address=Address(instance=Instance("ws"), conversation="alice"),
        text=text,
    )


def room_with(count: int, *, max_replies: int = 100, max_bytes: int = 100) -> Room:
    room = Room(max_replies=max_replies, max_bytes=max_bytes, epoch="e")
    for number in range(1, count + 1):
        room.add(outbound(number))
    return room


def numbers(replies: list[Reply]) -> list[int]:
    return [reply.number for reply in replies]


def test_the_same_delivery_is_the_same_reply() -> None:
    room = room_with(2)
    reply, is_new = room.add(outbound(1))
    assert (reply.number, is_new) == (1, False)
    assert room.cursor == "e-2"


def test_a_new_client_needs_what_nobody_has_got() -> None:
    room = room_with(3)
    assert room.got("e-2", highest=3)
    assert room.resume(None) == (room.resume("e-2")[0], False)
    assert numbers(room.resume(None)[0]) == [3]


def test_a_client_that_comes_back_needs_what_followed_its_cursor() -> None:
    room = room_with(3)
    replies, gap = room.resume("e-1")
    assert (numbers(replies), gap) == ([2, 3], False)
    assert repr(room) == "<Room e-3: 3 kept, 2 not got>"


@pytest.mark.parametrize("cursor", ["f-1", "e-4", "e--1", "e-٣", "e-", "", "1", "e-1e0", "e- 1"])
def test_an_unknown_cursor_gets_everything_kept_and_a_warning(cursor: str) -> None:
    room = room_with(3)
    replies, gap = room.resume(cursor)
    assert (numbers(replies), gap) == ([1, 2, 3], True)
    with pytest.raises(UnknownCursor):
        room.got(cursor, highest=3)


def test_a_cursor_that_this_client_was_not_given_is_refused() -> None:
    room = room_with(3)
    with pytest.raises(UnknownCursor, match="not sent here"):
        room.got("e-3", highest=2)
    assert room.got("e-2", highest=2)
    assert not room.got("e-1", highest=2)


def test_what_somebody_has_got_is_forgotten_before_what_nobody_has() -> None:
    room = room_with(3, max_replies=3)
    room.held(room.add(outbound(2))[0])
    room.add(outbound(4))
    assert numbers(room.resume(None)[0]) == [1, 3, 4]
    assert room.resume("e-1")[1] is True
    assert room.resume("e-2")[1] is False


def test_the_newest_reply_is_kept_however_large() -> None:
    room = room_with(2, max_bytes=3)
    room.add(outbound(3, "é" * 50))
    assert numbers(room.resume(None)[0]) == [3]
    room.add(outbound(4))
    assert numbers(room.resume(None)[0]) == [4]


def test_a_reply_that_is_taken_back_leaves_no_gap() -> None:
    room = room_with(1)
    reply, _ = room.add(outbound(2))
    room.forget(reply)
    assert room.resume("e-1") == ([], False)
    assert room.add(outbound(2))[0].number == 3


class Devices(RuleBasedStateMachine):
    """Two devices come and go; each must see every reply once, in order, or be told of a gap."""

    @initialize(max_replies=st.integers(1, 4))
    def open(self, max_replies: int) -> None:
        self.room = Room(max_replies=max_replies, max_bytes=1000, epoch="e")
        self.sent = 0
        self.online: dict[str, list[int]] = {}
        self.seen: dict[str, list[int]] = {"phone": [], "laptop": []}
        self.cursor = {"phone": "e-0", "laptop": "e-0"}
        self.may_miss = {"phone": False, "laptop": False}

    @rule()
    def reply(self) -> None:
        self.sent += 1
        reply, is_new = self.room.add(outbound(self.sent))
        assert is_new
        for device in self.online:
            self._show(device, reply)

    @rule(device=st.sampled_from(["phone", "laptop"]))
    def come(self, device: str) -> None:
        if device in self.online:
            return
        self.online[device] = []
        replies, gap = self.room.resume(self.cursor[device])
        self.may_miss[device] |= gap
        for reply in replies:
            self._show(device, reply)

    @rule(device=st.sampled_from(["phone", "laptop"]))
    def go(self, device: str) -> None:
        self.online.pop(device, None)

    @rule(device=st.sampled_from(["phone", "laptop"]))
    def acknowledge(self, device: str) -> None:
        if self.online.get(device):
            self.room.got(self.cursor[device], highest=self.room.last)

    def _show(self, device: str, reply: Reply) -> None:
        self.seen[device].append(reply.number)
        self.online[device].append(reply.number)
        self.cursor[device] = self.room.cursor_of(reply.number)

    @invariant()
    def nothing_twice_and_nothing_missed_unsaid(self) -> None:
        for device, seen in getattr(self, "seen", {}).items():
            assert seen == sorted(set(seen))
            if device in self.online and not self.may_miss[device]:
                assert seen == list(range(1, self.sent + 1))


Devices.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
test_devices_that_come_and_go = Devices.TestCase


# --- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"max_connections": 0}, "max_connections"),
        ({"write_timeout_s": -1.0}, "write_timeout_s"),
        ({"max_queue_frames": 256}, "max_queue_frames"),
        ({"max_queue_bytes": 1024}, "max_queue_bytes"),
    ],
)
def test_limits_that_cannot_work_together_are_refused_by_name(
    limits: dict[str, float], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        WebSocketLimits(**limits)  # type: ignore[arg-type]
