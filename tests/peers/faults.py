"""What a fake platform does wrong on purpose: refusals, broken answers, waits, and send rates."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import trio
from starlette.responses import JSONResponse, Response

from .web import cut_connection

__all__ = ["Call", "Fault", "Faults", "Hold", "Rates", "broken"]


@dataclass(frozen=True, slots=True)
class Call:
    """One request that a client has made, and how it was answered."""

    method: str
    """As the client wrote it."""
    parameters: dict[str, Any]
    uploads: tuple[str, ...]
    status: int
    """0 when no answer was given."""


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong, the next `times` times that a request fits."""

    method: str
    """The method it befalls, in small letters; `*` is any."""
    times: int
    status: int = 0
    """The status of the answer; 0 is none at all: the connection breaks."""
    body: dict[str, Any] | str = ""
    """JSON, or a page as it comes from what stands in front of the platform."""
    after_acting: bool = False
    """Whether the platform has done what it was asked for when this goes wrong."""
    headers: dict[str, str] = field(default_factory=dict[str, str])


def broken(fault: Fault) -> Response:
    """The answer that a fault gives; without one, the connection of the request is reset."""
    if fault.status == 0:
        cut_connection()
        return Response(status_code=500)
    if isinstance(fault.body, str):
        return Response(fault.body, fault.status, fault.headers, "text/html")
    return JSONResponse(fault.body, fault.status, fault.headers)


class Hold:
    """Stops requests where the platform has them and has not acted yet."""

    def __init__(self) -> None:
        self.reached = trio.Event()
        self.released = trio.Event()


class Faults:
    """The faults that are still to come."""

    def __init__(self) -> None:
        self._coming: list[Fault] = []
        self._holds: dict[str, Hold] = {}

    def add(self, fault: Fault) -> None:
        """Let something go wrong."""
        self._coming.append(fault)

    def hold(self, method: str) -> Hold:
        """Stop requests of `method` until the hold is released."""
        self._holds[method] = Hold()
        return self._holds[method]

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self._coming.clear()
        for hold in self._holds.values():
            hold.released.set()
        self._holds.clear()

    async def wait(self, method: str) -> None:
        """Wait as long as requests of `method` are held."""
        hold = self._holds.get(method)
        if hold is not None:
            hold.reached.set()
            await hold.released.wait()

    def take(self, method: str) -> Fault | None:
        """The fault that befalls this request, if one does."""
        for fault in self._coming:
            if fault.method in ("*", method):
                fault.times -= 1
                if fault.times <= 0:
                    self._coming.remove(fault)
                return fault
        return None


class Rates:
    """How much may be sent in a second, to one place and in all; None is without limit."""

    def __init__(
        self,
        per_place: float | None = None,
        overall: float | None = None,
        *,
        window_s: float = 1.0,
    ) -> None:
        """Messages are counted over `window_s`, or over what one of them takes if that is more."""
        self.per_place = per_place
        self.overall = overall
        self._window_s = window_s
        self._sent: dict[str, deque[float]] = {}

    def wait_s(self, place: str) -> int:
        """Count one message to `place`; or, if that is too much, whole seconds to wait first."""
        now = trio.current_time()
        limits = [(f"place {place}", self.per_place), ("overall", self.overall)]
        waits = [self._wait_s(key, limit, now) for key, limit in limits if limit is not None]
        wait_s = max(waits, default=0.0)
        if wait_s > 0:
            return math.ceil(wait_s)
        for key, limit in limits:
            if limit is not None:
                self._sent.setdefault(key, deque()).append(now)
        return 0

    def is_full(self, key: str) -> bool:
        """Whether no more fits now: `overall`, or to `place …`."""
        limit = self.overall if key == "overall" else self.per_place
        return limit is not None and self._wait_s(key, limit, trio.current_time()) > 0

    def _wait_s(self, key: str, limit: float, now: float) -> float:
        """Seconds until one more fits; `limit` may be under one a second."""
        window_s = max(self._window_s, 1.0 / limit)
        sent = self._sent.setdefault(key, deque())
        while sent and sent[0] <= now - window_s:
            sent.popleft()
        full = len(sent) >= max(1, round(limit * window_s))
        return sent[0] + window_s - now if full else 0.0
