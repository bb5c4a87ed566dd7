"""Discord's limits on requests, as its answers tell them. Pure: times are seconds of any clock.

Limits are per route and channel, and routes may share one: an answer names the bucket that the
request counted in. Nothing is known of a route before its first answer, and a 429 says the rest.

Source: https://docs.discord.com/developers/topics/rate-limits
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from typing import Final

from .pauses import MAX_PAUSE_S

__all__ = ["INVALID_LIMIT", "INVALID_S", "Rates"]

INVALID_LIMIT: Final = 1_000
"""Refused requests in `INVALID_S` seconds after which none is made. Discord bans an address for a
while after 10,000, and others may share it."""
INVALID_S: Final = 600.0
_COUNTED: Final = frozenset({401, 403, 429})
_REMEMBERED: Final = 2_048
"""Buckets before those are forgotten that are full again."""
_SECONDS: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,30})?")
_COUNT: Final = re.compile(r"[0-9]{1,9}")


class _Bucket:
    __slots__ = ("remaining", "resets_at")

    def __init__(self, remaining: int, resets_at: float) -> None:
        self.remaining = remaining
        self.resets_at = resets_at


class Rates:
    """What is left of each limit."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        """Route -> the bucket it counts in."""
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._paused_until = float("-inf")
        self._invalid: deque[float] = deque(maxlen=INVALID_LIMIT)

    def __repr__(self) -> str:
        return f"<Rates: {len(self._buckets)} buckets>"

    def wait_s(self, route: str, place: str, now_s: float) -> float:
        """Take a turn and return 0; or how many seconds to wait before asking again.

        Args:
            route: method and path, without ids.
            place: the channel or guild in the path; empty without.
            now_s: when it is.
        """
        if len(self._invalid) == INVALID_LIMIT and self._invalid[0] > now_s - INVALID_S:
            return self._invalid[0] + INVALID_S - now_s
        if self._paused_until > now_s:
            return self._paused_until - now_s
        bucket = self._buckets.get(self._key(route, place))
        if bucket is None or bucket.resets_at <= now_s:
            return 0.0
        if bucket.remaining > 0:
            bucket.remaining -= 1
            return 0.0
        return bucket.resets_at - now_s

    def learn(
        self, route: str, place: str, status: int, headers: Mapping[str, str], now_s: float
    ) -> None:
        """Read what an answer says of its bucket.

        Args:
            route: as asked.
            place: as asked.
            status: of the answer.
            headers: of the answer; names in lower case.
            now_s: when it came.
        """
        shared = headers.get("x-ratelimit-scope") == "shared"
        if status in _COUNTED and not (status == 429 and shared):
            self._invalid.append(now_s)
        name = headers.get("x-ratelimit-bucket", "")
        if name and len(self._names) < _REMEMBERED:
            self._names[route] = name
        left = headers.get("x-ratelimit-remaining", "")
        resets_s = _seconds(headers.get("x-ratelimit-reset-after", ""))
        if not _COUNT.fullmatch(left) or resets_s is None:
            return
        key, resets_at = self._key(route, place), now_s + resets_s
        bucket = self._buckets.get(key)
        if bucket is None or bucket.resets_at <= now_s:
            self._sweep(now_s)
            self._buckets[key] = _Bucket(int(left), resets_at)
        else:
            # Answers overtake each other: the least that any has told is left.
            bucket.remaining = min(bucket.remaining, int(left))
            bucket.resets_at = max(bucket.resets_at, resets_at)

    def pause(self, route: str | None, place: str, until_s: float) -> None:
        """Give no turns before a time, because a 429 said so.

        Args:
            route: None for all of them.
            place: as asked.
            until_s: on the clock of the others.
        """
        if route is None:
            self._paused_until = max(self._paused_until, until_s)
            return
        bucket = self._buckets.setdefault(self._key(route, place), _Bucket(0, until_s))
        bucket.remaining, bucket.resets_at = 0, max(bucket.resets_at, until_s)

    def _key(self, route: str, place: str) -> tuple[str, str]:
        return self._names.get(route, route), place

    def _sweep(self, now_s: float) -> None:
        if len(self._buckets) >= _REMEMBERED:
            self._buckets = {
                key: bucket for key, bucket in self._buckets.items() if bucket.resets_at > now_s
            }


def _seconds(told: str) -> float | None:
    return min(float(told), MAX_PAUSE_S) if _SECONDS.fullmatch(told) else None
