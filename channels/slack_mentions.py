"""A mention comes twice: as `app_mention`, and as the `message` that it stands in.

Slack says nowhere which of them comes first, and leaves the files of a message out of some mentions
(https://docs.slack.dev/reference/events/app_mention shows none). The first one to be heard is the
turn, so a mention without files waits for its `message`, which has them. An app may hear mentions
alone: then the first wait is in vain, and no mention waits any more until a `message` comes.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import trio

from .latest import Latest

__all__ = ["Mentions"]

_WAIT_S: Final = 1.0
"""Seconds that a mention waits for its message: Slack tells of both at once, and wants an answer
within three."""
_REMEMBERED: Final = 1_000

_Key: TypeAlias = tuple[str, str]


class Mentions:
    """Which messages have come, so that their mentions need not be heard."""

    def __init__(self, *, hopeful: bool) -> None:
        """None has come.

        Args:
            hopeful: whether the app may be told of messages in channels at all.
        """
        self._hopeful = hopeful
        self._came: Latest[_Key, None] = Latest(_REMEMBERED)
        self._awaited: dict[_Key, trio.Event] = {}

    def __repr__(self) -> str:
        return f"<Mentions: {len(self._came)} messages, {len(self._awaited)} awaited>"

    def message_came(self, channel: str, message_id: str) -> None:
        """A message came in a channel, and will be heard."""
        key = channel, message_id
        self._hopeful = True
        self._came[key] = None
        awaited = self._awaited.pop(key, None)
        if awaited is not None:
            awaited.set()

    async def is_left_to_message(self, channel: str, message_id: str) -> bool:
        """Whether the message of a mention has come, or comes soon."""
        key = channel, message_id
        if key in self._came:
            return True
        if not self._hopeful:
            return False
        awaited = self._awaited.setdefault(key, trio.Event())
        try:
            with trio.move_on_after(_WAIT_S):
                await awaited.wait()
                return True
        finally:
            self._awaited.pop(key, None)
        self._hopeful = False
        return False
