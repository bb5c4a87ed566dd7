"""How fast a channel may speak to its platform: token buckets, and turns in the order of asking.

`Limiter` decides and has no clock; `limited` waits for what it decides.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Final, Literal

import trio

from ..actors.frozen import message
from .base import Unreachable

__all__ = ["Bucket", "Limiter", "Rate", "limited", "pausing"]

_TOLERANCE: Final = 1e-9
"""Tokens by which floats may err."""
_FIRST_SWEEP: Final = 1_024
"""Places that are remembered before the first search for those that can be forgotten."""
_LONGEST_PAUSE_S: Final = 60.0
"""Seconds of a pause that are waited for; the others are for whoever asks to come back after."""


@message
class Rate:
    """At most `burst + per_s × T` turns in any `T` seconds."""

    per_s: float
    """Turns a second in the long run."""
    burst: int = 1
    """Turns at once, after a pause."""
    scope: Literal["all", "place"] = "all"
    """Whether all places share it, or each place has its own."""

    def __post_init__(self) -> None:
        """Refuse rates that nobody could keep.

        Raises:
            ValueError: it lets nothing through.
        """
        if not 0 < self.per_s < float("inf") or self.burst < 1:
            raise ValueError("a rate needs per_s above 0 and a burst of 1 or more")


class Bucket:
    """The tokens of one rate, as its turns so far have left them."""

    __slots__ = ("_at", "_tokens", "rate")

    def __init__(self, rate: Rate, now_s: float) -> None:
        self.rate = rate
        self._tokens = float(rate.burst)
        self._at = now_s

    def copy(self) -> Bucket:
        """Another one that goes its own way from now on."""
        twin = Bucket(self.rate, self._at)
        twin._tokens = self._tokens
        return twin

    def tokens_at(self, now_s: float) -> float:
        """How many tokens there are; below 0 if turns were taken ahead of their time."""
        grown = self._tokens + max(0.0, now_s - self._at) * self.rate.per_s
        return min(float(self.rate.burst), grown)

    def ready_at(self, now_s: float) -> float:
        """The earliest time from now on at which there is a token."""
        missing = 1.0 - self.tokens_at(now_s)
        return now_s if missing <= _TOLERANCE else max(now_s, self._at) + missing / self.rate.per_s

    def take(self, at_s: float) -> bool:
        """Take the token of a turn; False, if there is none. Turns come in the order of time."""
        tokens = self.tokens_at(at_s)
        self._tokens = tokens - 1.0
        self._at = max(self._at, at_s)
        return tokens >= 1.0 - _TOLERANCE

    def is_full_at(self, now_s: float) -> bool:
        """Whether nothing is left of the turns so far."""
        return self.tokens_at(now_s) >= self.rate.burst - _TOLERANCE


class _Place:
    """The turns of one place."""

    __slots__ = ("buckets", "paused_until_s", "turns_until_s")

    def __init__(self, rates: Iterable[Rate], now_s: float) -> None:
        self.buckets = [Bucket(rate, now_s) for rate in rates]
        self.paused_until_s = now_s
        self.turns_until_s = now_s
        """When its last turn is; nobody who asks later comes earlier."""


class Limiter:
    """Gives every message its turn.

    The turns of a place are in the order in which they were asked for. A place that must wait
    leaves the turns before its own to others.
    """

    def __init__(self, rules: Sequence[Rate]) -> None:
        self._place_rates = [rate for rate in rules if rate.scope == "place"]
        self._shared = [Bucket(rate, 0.0) for rate in rules if rate.scope == "all"]
        """As the turns that are over have left them."""
        self._ahead: list[float] = []
        """Turns that were given and are not over, in the order of time."""
        self._tail = [bucket.copy() for bucket in self._shared]
        """As the turns ahead will have left them."""
        self._full: tuple[float, float] | None = None
        """From when until when no further turn fits in; taking turns makes no room."""
        self._places: dict[str, _Place] = {}
        self._sweep_at = _FIRST_SWEEP
        self._paused_until_s = float("-inf")
        self._now_s = float("-inf")

    def __repr__(self) -> str:
        return f"<Limiter: {len(self._ahead)} turns ahead, {len(self._places)} places>"

    @property
    def places(self) -> int:
        """How many places are remembered; one whose buckets are full need not be."""
        return len(self._places)

    def reserve(self, place: str, now_s: float) -> float:
        """Take the next turn of a place, and return in how many seconds it is.

        The turn is taken, whether or not it is used.
        """
        now_s = self._advance(now_s)
        record = self._place(place, now_s)
        at = max(now_s, self._paused_until_s, record.paused_until_s, record.turns_until_s)
        while True:
            later = max((bucket.ready_at(at) for bucket in record.buckets), default=at)
            later = self._gap_from(later)
            if later <= at:
                break
            at = later
        for bucket in record.buckets:
            bucket.take(at)
        record.turns_until_s = at
        if self._shared:
            self._take_shared(at)
        return at - now_s

    def held(self, place: str, now_s: float) -> float:
        """For how many more seconds a pause holds the place."""
        now_s = self._advance(now_s)
        record = self._places.get(place)
        until_s = max(self._paused_until_s, record.paused_until_s if record else now_s)
        return max(0.0, until_s - now_s)

    def pause(self, place: str | None, until_s: float) -> None:
        """Give no turns before a time, because the platform said so; a pause is never shortened.

        Args:
            place: None for all.
            until_s: on the clock of `reserve`.
        """
        if place is None:
            self._paused_until_s = max(self._paused_until_s, until_s)
        else:
            record = self._place(place, max(self._now_s, 0.0))
            record.paused_until_s = max(record.paused_until_s, until_s)

    def _advance(self, now_s: float) -> float:
        """Let the turns be over whose time has come. Time does not run backwards here."""
        self._now_s = now_s = max(now_s, self._now_s)
        over = bisect_right(self._ahead, now_s)
        for at in self._ahead[:over]:
            for bucket in self._shared:
                bucket.take(at)
        del self._ahead[:over]
        return now_s

    def _take_shared(self, at: float) -> None:
        insort(self._ahead, at)
        if self._ahead[-1] <= at:
            behind: Iterable[float] = (at,)
        else:
            self._tail, behind = [bucket.copy() for bucket in self._shared], self._ahead
        for turn in behind:
            for bucket in self._tail:
                bucket.take(turn)

    def _gap_from(self, at: float) -> float:
        """The earliest time from `at` on at which one more turn fits in among those ahead.

        Thousands may wait at once for their turns, one after the other. So what is known to be
        full is not searched again, and behind the last turn ahead there is nothing to search.
        """
        if not self._shared:
            return at
        first = at
        if self._full is not None and self._full[0] <= at < self._full[1]:
            at = self._full[1]
        if self._ahead and at < self._ahead[-1]:
            at = self._gap_among(at)
        else:
            at = max(bucket.ready_at(at) for bucket in self._tail)
        if self._full is None or first > self._full[1] or at < self._full[0]:
            self._full = first, at
        else:
            self._full = min(first, self._full[0]), max(at, self._full[1])
        return at

    def _gap_among(self, at: float) -> float:
        buckets = [bucket.copy() for bucket in self._shared]
        ahead = deque(self._ahead)
        while True:
            while ahead and ahead[0] <= at:
                turn = ahead.popleft()
                for bucket in buckets:
                    bucket.take(turn)
            ready = max(bucket.ready_at(at) for bucket in buckets)
            if ahead and ready >= ahead[0]:
                at = ahead[0]
            elif ready > at:
                at = ready
            elif self._fits(buckets, at, ahead):
                return at
            else:
                # Those ahead have been promised their time: the next gap is behind the next.
                at = ahead[0]

    @staticmethod
    def _fits(buckets: Iterable[Bucket], at: float, ahead: Iterable[float]) -> bool:
        """Whether a turn at `at` leaves their tokens to those behind it."""
        for bucket in buckets:
            trial = bucket.copy()
            trial.take(at)
            if not all(trial.take(turn) for turn in ahead):
                return False
        return True

    def _place(self, place: str, now_s: float) -> _Place:
        record = self._places.get(place)
        if record is None:
            if len(self._places) >= self._sweep_at:
                self._sweep(now_s)
            record = self._places[place] = _Place(self._place_rates, now_s)
        return record

    def _sweep(self, now_s: float) -> None:
        """Forget the places of which nothing is to be remembered."""
        self._places = {
            name: record
            for name, record in self._places.items()
            if max(record.paused_until_s, record.turns_until_s) > now_s
            or not all(bucket.is_full_at(now_s) for bucket in record.buckets)
        }
        self._sweep_at = max(_FIRST_SWEEP, 2 * len(self._places))


async def limited(limiter: Limiter, place: str) -> None:
    """Wait for the turn of a place, on trio's clock.

    Who is cancelled loses the turn, and nobody else gets it. Whoever a pause catches waiting takes
    a new turn.

    Raises:
        Unreachable: a pause holds the place for more than a minute. Whoever waited here would be
            on the way for that long, with nobody to say why, and past the time at which nobody
            wants it any more.
    """
    while True:
        held_s = limiter.held(place, trio.current_time())
        if held_s > _LONGEST_PAUSE_S:
            raise Unreachable(
                f"the platform wants to hear nothing more for {held_s:.0f} s",
                reason="rate_limited",
                retry_after_s=held_s,
            )
        await trio.sleep(limiter.reserve(place, trio.current_time()))
        if limiter.held(place, trio.current_time()) == 0.0:
            return


@contextmanager
def pausing(limiter: Limiter, place: str | None) -> Generator[None]:
    """Give no more turns for as long as the platform asks for that in an error of the block.

    Args:
        limiter: whose turns.
        place: which place's; None for all of them.
    """
    try:
        yield
    except Unreachable as error:
        if error.retry_after_s is not None:
            limiter.pause(place, trio.current_time() + error.retry_after_s)
        raise
