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
from typing import Any, Final, cast

from .slack_fields import is_id, is_stamp, seconds_of, stamp_at

__all__ = ["LAG_S", "MAX_CHANNELS", "MAX_THREADS", "Progress"]

MAX_CHANNELS: Final = 400
"""Channels that are remembered: those heard last. A watermark has room for 65,536 characters, and
each takes up to 100."""
MAX_THREADS: Final = 200
"""Threads that are remembered, of all channels: those heard last. Each takes up to 100."""
LAG_S: Final = 10
"""Seconds by which a mark stays behind the newest message that is settled."""
_INSTANT: Final = Decimal("0.000001")


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
        self._threads: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._behind: dict[str, int] = {}
        """Channels in which something was missed, and how often that was found."""
        self._ahead: dict[str, str] = {}
        """The newest message that is settled in a channel that is behind."""
        self._read(stored)

    def __repr__(self) -> str:
        return f"<Progress: {len(self.marks)} channels, {len(self._behind)} behind>"

    # -- live ------------------------------------------------------------------------------------

    def came(self, channel: str, message_id: str) -> None:
        """A message came, and is not settled; from a new channel's first one on all counts."""
        if channel not in self.marks:
            self._mark(channel, stamp_at(seconds_of(message_id) - _INSTANT))

    def passed(self, channel: str, message_id: str) -> None:
        """A message is settled, and so is what came before it in its channel."""
        if channel not in self._behind:
            self._move(channel, message_id)
        elif seconds_of(message_id) > seconds_of(self._ahead.get(channel, "0.0")):
            self._ahead[channel] = message_id

    def took_part(self, channel: str, thread: str) -> None:
        """The agent was spoken to in a thread."""
        self._threads[channel, thread] = None
        self._threads.move_to_end((channel, thread))
        while len(self._threads) > MAX_THREADS:
            self._threads.popitem(last=False)

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

    def ticket(self, channel: str) -> int:
        """What `caught_up` asks for; 0 if nothing was missed in the channel."""
        return self._behind.get(channel, 0)

    def caught_up(self, channel: str, newest: str | None, ticket: int) -> bool:
        """What was missed up to a message is settled; False if more was missed meanwhile.

        Args:
            channel: which.
            newest: the last message that was missed; None if none was.
            ticket: as it was before anything was asked for.
        """
        if self._behind.get(channel, 0) != ticket:
            return False
        self._behind.pop(channel, None)
        for message_id in (newest, self._ahead.pop(channel, None)):
            if message_id is not None:
                self._move(channel, message_id)
        return True

    def forget(self, channel: str) -> None:
        """A channel is gone, or can no longer be read."""
        self.marks.pop(channel, None)
        self._behind.pop(channel, None)
        self._ahead.pop(channel, None)
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

    def _move(self, channel: str, message_id: str) -> None:
        """Let the mark of a channel follow a message that is settled, if that is newer."""
        mark = stamp_at(seconds_of(message_id) - LAG_S)
        known = self.marks.get(channel)
        self._mark(channel, mark if known is None else max(mark, known, key=seconds_of))

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
