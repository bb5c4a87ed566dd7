"""A session's open deliveries: one lane for each place, first in, first out.

The first of a lane is under way (`sending`) or pausing between attempts; the others wait for it.
Which of the two it was matters after a crash: what was under way may have arrived.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from ..messages import Address
from .delivery_records import DeliveryStatus

__all__ = ["FINAL_STATUSES", "First", "Outbox"]

FINAL_STATUSES: Final = frozenset({"delivered", "rendered", "failed", "unknown"})
"""Outcomes after which a delivery is over, unless an operator opens it again."""


class First(NamedTuple):
    """The first delivery of a lane, and how far it has come."""

    seq: int
    sending: bool
    """Whether it is under way."""
    attempt: int
    ambiguous: bool
    """Whether an attempt may have arrived unanswered."""
    duplicate: bool
    """Whether it is to be marked for the reader as one that may have arrived before."""
    parts: tuple[str, ...]
    """The platform's ids of what has arrived of it."""


class _Reopening(NamedTuple):
    since: int
    duplicate: bool
    parts: tuple[str, ...]


_FRESH: Final = _Reopening(0, False, ())


@dataclass(slots=True)
class _Lane:
    queue: deque[int]
    sending: bool
    attempt: int = 1
    """Number of the attempt under way, or of the next one."""
    may_have_arrived: bool = False
    """Whether an earlier attempt at the first one was left unanswered."""
    parts: tuple[str, ...] = ()
    """What has arrived of the first one."""


class Outbox:
    """Open deliveries of one session, by the sequence number of the record that asked for each."""

    __slots__ = ("_lanes", "_reopened")

    def __init__(self) -> None:
        self._lanes: dict[Address | None, _Lane] = {}
        self._reopened: dict[int, _Reopening] = {}

    def __repr__(self) -> str:
        lanes = sorted(self._lanes.values(), key=lambda lane: lane.queue[0])
        return repr([(list(lane.queue), lane.sending, lane.attempt) for lane in lanes])

    def __len__(self) -> int:
        return sum(len(lane.queue) for lane in self._lanes.values())

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def __contains__(self, seq: int) -> bool:
        return any(seq in lane.queue for lane in self._lanes.values())

    @property
    def oldest(self) -> int:
        """Sequence number of the record that opened the oldest open delivery."""
        moved = self._reopened
        return min(
            self.opened_by(seq)
            for lane in self._lanes.values()
            for seq in (lane.queue if moved else (lane.queue[0],))
        )

    def opened_by(self, seq: int) -> int:
        """Sequence number of the record that opened delivery `seq`: its own, or the reopening's."""
        reopening = self._reopened.get(seq)
        return reopening.since if reopening is not None else seq

    def enter(self, seq: int, place: Address | None) -> None:
        """A new delivery: under way at once if its lane is empty."""
        lane = self._lanes.get(place)
        if lane is None:
            self._lanes[place] = _Lane(deque((seq,)), sending=True)
        else:
            lane.queue.append(seq)

    def reopen(
        self,
        seq: int,
        place: Address | None,
        *,
        since: int,
        duplicate: bool = False,
        parts: tuple[str, ...] = (),
    ) -> None:
        """A delivery that was over waits again, at the end of its lane."""
        self._reopened[seq] = _Reopening(since, duplicate, parts)
        lane = self._lanes.get(place)
        if lane is None:
            self._lanes[place] = _Lane(deque((seq,)), sending=False)
        else:
            lane.queue.append(seq)

    def note(
        self,
        seq: int,
        status: DeliveryStatus,
        attempt: int,
        *,
        may_have_arrived: bool = False,
        parts: tuple[str, ...] = (),
    ) -> None:
        """The first of a lane begins, pauses or ends. About any other delivery: nothing."""
        place, lane = self._lane_of(seq)
        if lane is None:
            return
        if status in FINAL_STATUSES:
            lane.queue.popleft()
            lane.sending = lane.may_have_arrived = False
            lane.attempt, lane.parts = 1, ()
            self._reopened.pop(seq, None)
            if not lane.queue:
                del self._lanes[place]
        else:
            lane.sending = status == "sending"
            lane.attempt = attempt if lane.sending else attempt + 1
            lane.may_have_arrived |= may_have_arrived
            lane.parts = parts or lane.parts

    def _lane_of(self, seq: int) -> tuple[Address | None, _Lane | None]:
        for place, lane in self._lanes.items():
            if lane.queue[0] == seq:
                return place, lane
        return None, None

    def place_of(self, seq: int) -> Address | None:
        """The place of a lane's first delivery."""
        return self._lane_of(seq)[0]

    def is_first(self, seq: int) -> bool:
        """Whether nothing is before `seq` in its lane."""
        return self._lane_of(seq)[1] is not None

    def is_sending(self, seq: int) -> bool:
        """Whether `seq` is under way."""
        lane = self._lane_of(seq)[1]
        return lane is not None and lane.sending

    def is_paused(self, seq: int) -> bool:
        """Whether `seq` is first in its lane and not under way."""
        lane = self._lane_of(seq)[1]
        return lane is not None and not lane.sending

    def first_waiting(self, place: Address | None) -> int:
        """The first of a lane if it has never been begun, else 0."""
        lane = self._lanes.get(place)
        return lane.queue[0] if lane is not None and not lane.sending and lane.attempt == 1 else 0

    def first(self, seq: int) -> First:
        """How far delivery `seq`, which is the first of its lane, has come."""
        lane = self._lane_of(seq)[1]
        assert lane is not None  # it is the first of one
        return self._first(lane)

    def firsts(self) -> Iterator[First]:
        """The first of every lane."""
        for lane in tuple(self._lanes.values()):
            yield self._first(lane)

    def _first(self, lane: _Lane) -> First:
        reopening = self._reopened.get(lane.queue[0], _FRESH)
        return First(
            lane.queue[0],
            lane.sending,
            lane.attempt,
            lane.sending or lane.may_have_arrived,
            reopening.duplicate,
            lane.parts or reopening.parts,
        )
