"""What a human has said, as a channel's reader tells it: a turn, and files that are elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ..actors.frozen import message
from ..actors.messages import InboundTurn
from .incoming_files import IncomingFile, KeepIncoming, attachments_of

__all__ = ["Heard", "shown_name"]

_MAX_NAME_CHARS: Final = 256
"""Longest display name that is passed on; those of platforms are shorter."""


@message
class Heard:
    """What a human has said."""

    turn: InboundTurn
    """Without its files."""
    files: tuple[IncomingFile, ...] = ()

    async def whole(self, keep: KeepIncoming, *, until_s: float) -> InboundTurn:
        """The turn with its files.

        Args:
            keep: fetches and keeps one.
            until_s: when the turn must come, on trio's clock.

        Raises:
            ShuttingDown: the runtime stops, and the turn comes again.
        """
        if not self.files:
            return self.turn
        name = self.turn.address.instance
        kept = await attachments_of(self.files, keep, name=name, until_s=until_s)
        return replace(self.turn, attachments=kept)


def shown_name(told: str | None) -> str | None:
    """What somebody, or a conversation, is called; None if that is nothing."""
    return told[:_MAX_NAME_CHARS] if told else None
