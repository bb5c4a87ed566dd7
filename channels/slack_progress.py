"""How far a bot has heard its channels: what its watermark holds. Pure.

Of each channel, threads included, it holds the time up to which everything is settled; and the
threads in which the agent takes part, because Slack tells what was said in a thread only to whoever
asks for that thread. Events of a channel may overtake each other on their way, so a mark stays a
little behind the newest message that is settled: what is heard again changes nothing.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from decimal import Decimal
from typing import Any, Final, NamedTuple, cast

from .latest import Latest
from .slack_fields import is_id, is_stamp, seconds_of, stamp_at

__all__ = ["LAG_S", "MAX_CHANNELS", "MAX_THREADS", "Progress"]

MAX_CHANNELS: Final = 400
"""Channels that are remembered: those heard last. A watermark has room for 65,536 characters, and
each takes up to 100."""
MAX_THREADS: Final = 200
"""Threads that are remembered, of all channels: those heard last. Each takes up to 100."""
LAG_S: Final = 10.0
"""Seconds that a mark waits before it follows: what was said before has come by then."""
_INSTANT: Final = Decimal("0.000001")


class _Fresh(NamedTuple):
    """A mark that is to follow."""

    due_s: float
    """When it has waited enough for the first."""
    first: str
    newest: str


class Progress:
    """Which channels are known, and up to where each is settled."""

    def __init__(self, stored: str | None, bot: str) -> None:
        """Go on from a watermark; from none, another bot's, or one that cannot be read, anew.

        Args:
            stored: what it held.
            bot: who hears, in which workspace.
        """
        self._bot = bot
        self.marks: OrderedDict[str, str] = OrderedDict()
        """Channel -> the time up to which all is settled; the channel heard last is the last."""
        self._threads: Latest[tuple[str, str], None] = Latest(MAX_THREADS)
        self._behind: dict[str, int] = {}
        """Channels in which something was missed, and how often that was found."""
        self._ahead: dict[str, str] = {}
        """The newest message that is settled in a channel that is behind."""
        self._open: dict[str, set[str]] = {}
        """Messages that came, and are not settled, by channel."""
        self._fresh: dict[str, _Fresh] = {}
        """What the marks are to follow, by channel."""
        self._read(stored)

    def __repr__(self) -> str:
        return f"<Progress: {len(self.marks)} channels, {len(self._behind)} behind>"

    # -- live ------------------------------------------------------------------------------------

    def met(self, channel: str, message_id: str) -> None:
        """There is a message; from a new channel's first one on all counts."""
        if channel not in self.marks:
            self._mark(channel, _before(message_id))

    def came(self, channel: str, message_id: str) -> None:
        """A message came, and is not settled: its `passed` or `refused` is to follow."""
        self.met(channel, message_id)
        self._open.setdefault(channel, set()).add(message_id)

    def refused(self, channel: str, message_id: str) -> None:
        """A message that came is not settled here: it has to come again."""
        messages = self._open.get(channel, set())
        messages.discard(message_id)
        if not messages:
            self._open.pop(channel, None)

    def passed(self, channel: str, message_id: str, now_s: float) -> None:
        """A message is settled.

        Args:
            channel: where.
            message_id: which.
            now_s: on the clock of `ripen`.
        """
        self.refused(channel, message_id)
        if channel in self._behind:
            ahead = self._ahead.get(channel, message_id)
            self._ahead[channel] = max(ahead, message_id, key=seconds_of)
        elif channel in self.marks:
            self._follow(channel, message_id, now_s)

    def ripen(self, now_s: float) -> float | None:
        """Let marks follow that have waited enough; return when the next one has, if one waits."""
        for channel, fresh in list(self._fresh.items()):
            if fresh.due_s <= now_s:
                del self._fresh[channel]
                if not self._move(channel, fresh.first) or fresh.newest != fresh.first:
                    self._follow(channel, fresh.newest, now_s)
        return min((fresh.due_s for fresh in self._fresh.values()), default=None)

    def took_part(self, channel: str, thread: str) -> None:
        """The agent was spoken to in a thread."""
        self._threads[channel, thread] = None

    # -- what was missed -------------------------------------------------------------------------

    def all_behind(self) -> list[str]:
        """Something may have been missed in every channel; the one heard last comes first."""
        channels = list(reversed(self.marks))
        for channel in channels:
            self.fall_behind(channel)
        return channels

    def fall_behind(self, channel: str) -> None:
        """Something was missed in a channel: its mark stays until it is caught up."""
        if channel in self.marks:
            self._behind[channel] = self._behind.get(channel, 0) + 1
            fresh = self._fresh.pop(channel, None)
            if fresh is not None:
                self._ahead[channel] = fresh.newest

    def ticket(self, channel: str) -> int:
        """What `caught_up` asks for; 0 if nothing was missed in the channel."""
        return self._behind.get(channel, 0)

    def caught_up(self, channel: str, newest: str | None, ticket: int, now_s: float) -> bool:
        """What was missed up to a message is settled; False if more was missed meanwhile.

        Args:
            channel: which.
            newest: the last message that was missed; None if none was.
            ticket: as it was before anything was asked for.
            now_s: on the clock of `ripen`.
        """
        if self._behind.get(channel, 0) != ticket:
            return False
        self._behind.pop(channel, None)
        if newest is not None and channel in self.marks:
            self._move(channel, newest)
        ahead = self._ahead.pop(channel, None)
        if ahead is not None:
            self.passed(channel, ahead, now_s)
        return True

    def forget(self, channel: str) -> None:
        """A channel is gone, or can no longer be read."""
        self.marks.pop(channel, None)
        self._behind.pop(channel, None)
        self._ahead.pop(channel, None)
        self._fresh.pop(channel, None)
        for thread in self.threads_in(channel):
            self.leave(channel, thread)

    def leave(self, channel: str, thread: str) -> None:
        """A thread is gone."""
        self._threads.pop((channel, thread), None)

    def threads_in(self, channel: str) -> list[str]:
        """The threads of a channel in which the agent takes part; the last heard comes first."""
        return [thread for place, thread in reversed(self._threads) if place == channel]

    # -- the watermark ---------------------------------------------------------------------------

    def stored(self) -> str:
        """What the watermark is to hold."""
        told = {"bot": self._bot, "marks": self.marks, "threads": list(self._threads)}
        return json.dumps(told, separators=(",", ":"))

    def _follow(self, channel: str, message_id: str, now_s: float) -> None:
        """Let the mark of a channel follow a message, when it has waited."""
        fresh = self._fresh.get(channel)
        if fresh is None:
            self._fresh[channel] = _Fresh(now_s + LAG_S, message_id, message_id)
        else:
            newest = max(fresh.newest, message_id, key=seconds_of)
            self._fresh[channel] = _Fresh(fresh.due_s, fresh.first, newest)

    def _move(self, channel: str, message_id: str) -> bool:
        """Move a mark to a message, or before the first that is not settled: then False."""
        known, mark = self.marks[channel], message_id
        first_open = min(self._open.get(channel, ()), key=seconds_of, default=None)
        if first_open is not None and seconds_of(first_open) <= seconds_of(message_id):
            mark = _before(first_open)
        self._mark(channel, max(mark, known, key=seconds_of))
        return mark == message_id

    def _mark(self, channel: str, mark: str) -> None:
        self.marks[channel] = mark
        self.marks.move_to_end(channel)
        while len(self.marks) > MAX_CHANNELS:
            self.forget(next(iter(self.marks)))

    def _read(self, stored: str | None) -> None:
        try:
            told: object = json.loads(stored or "{}")
        except (ValueError, RecursionError):
            return
        known = cast("dict[str, Any]", told) if isinstance(told, dict) else {}
        if known.get("bot") != self._bot:
            return
        marks, threads = known.get("marks"), known.get("threads")
        if isinstance(marks, dict):
            for channel, mark in cast("dict[str, Any]", marks).items():
                if is_id(channel) and isinstance(mark, str) and is_stamp(mark):
                    self._mark(channel, mark)
        if isinstance(threads, list):
            for one in cast("list[object]", threads):
                match one:
                    case [str(channel), str(thread)] if is_stamp(thread) and channel in self.marks:
                        self.took_part(channel, thread)
                    case _:
                        pass


def _before(message_id: str) -> str:
    """The time just before a message."""
    return stamp_at(seconds_of(message_id) - _INSTANT)
